// @vitest-environment node
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';

import { wanted, rooted, type FolderFile } from './folder';
import { record, tar } from './tar';
import { unzip } from './zip';

function file(path: string, text = path): FolderFile {
  return { path, body: new Blob([text]), modifiedMs: 1_767_268_800_000 };
}

function inFolder<T>(use: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'archive-'));
  try {
    return use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

it('makes an archive that tar unpacks, with names of any length and language', async () => {
  const long = `${'folder/'.repeat(20)}file.txt`;
  const files = [
    file('app.py'),
    file('empty', ''),
    file(long),
    file('static/grün.css'),
    file('x'.repeat(600)),
    { ...file('bin/run'), executable: true },
  ];
  files[4] = { ...file('last.bin', 'x'.repeat(600)) };
  const archive = Buffer.from(await tar(files).arrayBuffer());
  expect(archive.length % 512).toBe(0);
  inFolder((folder) => {
    execFileSync('tar', ['-xf', '-', '-C', folder], { input: archive });
    for (const { path } of files) {
      const expected = path === 'empty' ? '' : path === 'last.bin' ? 'x'.repeat(600) : path;
      expect(readFileSync(join(folder, path), 'utf8')).toBe(expected);
      expect((statSync(join(folder, path)).mode & 0o111) !== 0, path).toBe(path === 'bin/run');
    }
  });
});

it('counts the digits of the length of a record', () => {
  for (const size of [1, 80, 89, 90, 91, 92, 985, 990, 993]) {
    const text = record('path', 'a'.repeat(size));
    expect(Number(text.split(' ')[0])).toBe(text.length);
  }
});

it('leaves out what is never part of a site', () => {
  const paths = [
    'app.py',
    '.git/HEAD',
    'a/__pycache__/b.pyc',
    'venv/pyvenv.cfg',
    'venv/bin/python',
    'venv.txt',
  ];
  expect(wanted(paths.map((path) => file(path))).map(({ path }) => path)).toEqual(['app.py', 'venv.txt']);
});

it('takes the one folder that everything is in for the root', () => {
  const folder = rooted([file('shop/app.py'), file('shop/static/a.css')], 'archive');
  expect([folder.name, ...folder.files.map(({ path }) => path)]).toEqual(['shop', 'app.py', 'static/a.css']);
  expect(rooted([file('shop/app.py'), file('readme')], 'archive').name).toBe('archive');
});

const ZIP = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    archive.writestr("shop/app.py", "print()" * 100, zipfile.ZIP_DEFLATED)
    archive.writestr("shop/raw.txt", "as it is", zipfile.ZIP_STORED)
    archive.writestr("shop/empty/", "")
    program = zipfile.ZipInfo("shop/bin/run")
    program.external_attr = 0o100755 << 16
    archive.writestr(program, "#!/bin/sh")
`;

it('reads what was stored and what was deflated in a zip', async () => {
  const packed = inFolder((folder) => {
    const path = join(folder, 'a.zip');
    writeFileSync(join(folder, 'make.py'), ZIP);
    execFileSync('python3', [join(folder, 'make.py'), path]);
    return readFileSync(path);
  });
  const folder = await unzip(new File([packed], 'a.zip'));
  expect(folder.name).toBe('shop');
  const texts = await Promise.all(folder.files.map(async ({ path, body }) => [path, await body.text()]));
  expect(texts).toEqual([
    ['app.py', 'print()'.repeat(100)],
    ['raw.txt', 'as it is'],
    ['bin/run', '#!/bin/sh'],
  ]);
  expect(folder.files.map(({ executable }) => executable)).toEqual([false, false, true]);
  for (const damaged of [
    packed.subarray(0, 40),
    packed.subarray(20),
    Buffer.from('no zip'),
    Buffer.alloc(0),
  ]) {
    await expect(unzip(new File([damaged], 'a.zip'))).rejects.toThrow(/a\.zip/);
  }
});
