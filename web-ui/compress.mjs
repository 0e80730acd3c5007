/**
 * After a build: a compressed file beside each that gains by it, which the binary serves to browsers that take it. Fails where what
 * the first view needs (the page, its scripts and styles) is more than 150 KB.
 */

import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const DIST = fileURLToPath(new URL('dist/', import.meta.url));
const MOST_BYTES = 150_000;

const sizes = new Map();
for (const entry of await readdir(DIST, { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath, entry.name);
  if (!entry.isFile() || path.endsWith('.gz')) continue;
  const body = await readFile(path);
  const compressed = gzipSync(body, { level: 9 });
  sizes.set(path, Math.min(body.length, compressed.length));
  if (compressed.length < body.length) await writeFile(`${path}.gz`, compressed);
}

const page = await readFile(join(DIST, 'index.html'), 'utf8');
const needed = [...page.matchAll(/(?:src|href)="\/?([^"]+)"/g)].map(([, name]) => join(DIST, name));
const total = [join(DIST, 'index.html'), ...needed].reduce((sum, path) => {
  const size = sizes.get(path);
  if (size === undefined) throw new Error(`the page needs ${path}, which was not built`);
  return sum + size;
}, 0);
process.stdout.write(`first view: ${total} bytes compressed, of ${MOST_BYTES}\n`);
if (needed.length < 3 || total > MOST_BYTES) {
  process.stdout.write('the first view is too large, or is not what it was\n');
  process.exit(1);
}
