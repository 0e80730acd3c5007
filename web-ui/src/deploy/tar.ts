/**
 * Files as a tar archive, which a deploy sends. The bodies are not read: the browser does that while it sends them.
 *
 * Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Header Block".
 */

import type { FolderFile } from './folder';

const BLOCK = 512;
const LONGEST_NAME = 100;
/** What eleven octal digits can say. */
const LARGEST = 8 ** 11 - 1;

const encoder = new TextEncoder();

/** The archive of these files. */
export function tar(files: FolderFile[]): Blob {
  const parts: BlobPart[] = [];
  for (const { path, body, modifiedMs, executable = false } of files) {
    const name = encoder.encode(path);
    const records = [];
    if (name.length > LONGEST_NAME || name.some((byte) => byte > 0x7e)) records.push(record('path', path));
    if (body.size > LARGEST) records.push(record('size', String(body.size)));
    if (records.length > 0) {
      const extended = encoder.encode(records.join(''));
      parts.push(
        header(encoder.encode('pax'), { kind: 'x', size: extended.length, modifiedMs: 0, mode: 0o644 }),
        extended,
        padding(extended.length),
      );
    }
    const size = Math.min(body.size, LARGEST);
    const facts = { kind: '0', size, modifiedMs, mode: executable ? 0o755 : 0o644 };
    parts.push(header(name.subarray(0, LONGEST_NAME), facts), body, padding(body.size));
  }
  parts.push(new Uint8Array(2 * BLOCK));
  return new Blob(parts, { type: 'application/x-tar' });
}

/** `LENGTH KEY=VALUE`, whose length counts its own digits. */
export function record(key: string, value: string): string {
  const rest = encoder.encode(` ${key}=${value}\n`).length;
  let length = rest + String(rest).length;
  length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

interface Facts {
  kind: string;
  size: number;
  modifiedMs: number;
  mode: number;
}

function header(name: Uint8Array, { kind, size, modifiedMs, mode }: Facts): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const write = (offset: number, text: string) => block.set(encoder.encode(text), offset);
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, '0');
  block.set(name, 0);
  write(100, `${octal(mode, 7)}\0`);
  write(108, `${octal(0, 7)}\0${octal(0, 7)}\0`);
  write(124, `${octal(size, 11)}\0`);
  write(136, `${octal(Math.max(0, Math.floor(modifiedMs / 1000)), 11)}\0`);
  // The sum is made with blanks in its own place.
  write(148, '        ');
  write(156, kind);
  write(257, 'ustar\x0000');
  const sum = block.reduce((total, byte) => total + byte, 0);
  write(148, `${octal(sum, 6)}\0 `);
  return block;
}

function padding(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
}
