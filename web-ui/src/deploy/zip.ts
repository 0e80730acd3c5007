/**
 * The files of a zip archive.
 *
 * Source: PKWARE APPNOTE 6.3.10. What is stored or deflated is read; archives of 4 GB and more, and encrypted ones, are not.
 */

import { rooted, type Folder, type FolderFile } from './folder';

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
const END_BYTES = 22;
const LONGEST_COMMENT = 0xffff;
const UNIX = 3;

async function view(blob: Blob): Promise<DataView> {
  return new DataView(await blob.arrayBuffer());
}

/** Reads a zip; rejects with an `Error` that says what is wrong with it. */
export async function unzip(file: File): Promise<Folder> {
  const tail = await view(file.slice(Math.max(0, file.size - END_BYTES - LONGEST_COMMENT)));
  let end = tail.byteLength - END_BYTES;
  while (end >= 0 && tail.getUint32(end, true) !== END) end -= 1;
  if (end < 0) throw new Error(`${file.name} is not a zip archive, or is cut off.`);
  const count = tail.getUint16(end + 10, true);
  const [size, start] = [tail.getUint32(end + 12, true), tail.getUint32(end + 16, true)];
  if (start + size > file.size) throw new Error(`${file.name} is too large for a zip, or damaged.`);
  const directory = await view(file.slice(start, start + size));
  const files: FolderFile[] = [];
  let offset = 0;
  for (let index = 0; index < count; index += 1) {
    if (offset + 46 > directory.byteLength || directory.getUint32(offset, true) !== ENTRY) {
      throw new Error(`The list of files in ${file.name} is damaged.`);
    }
    const nameLength = directory.getUint16(offset + 28, true);
    const path = new TextDecoder().decode(
      new Uint8Array(directory.buffer, offset + 46, Math.min(nameLength, directory.byteLength - offset - 46)),
    );
    if (!path.endsWith('/')) {
      files.push({
        path,
        body: await body(file, directory, offset, path),
        modifiedMs: file.lastModified,
        executable: isExecutable(directory, offset),
      });
    }
    offset +=
      46 + nameLength + directory.getUint16(offset + 30, true) + directory.getUint16(offset + 32, true);
  }
  return rooted(files, file.name.replace(/\.zip$/i, ''));
}

/** Whether the owner may run it, where the archive was made on Unix (host 3): the mode is in the upper half then. */
function isExecutable(directory: DataView, offset: number): boolean {
  const madeOn = directory.getUint8(offset + 5);
  return madeOn === UNIX && (directory.getUint16(offset + 40, true) & 0o100) !== 0;
}

async function body(file: File, directory: DataView, offset: number, path: string): Promise<Blob> {
  const flags = directory.getUint16(offset + 8, true);
  const method = directory.getUint16(offset + 10, true);
  const [packed, size] = [directory.getUint32(offset + 20, true), directory.getUint32(offset + 24, true)];
  const start = directory.getUint32(offset + 42, true);
  if (flags & 1) throw new Error(`${path} in ${file.name} is encrypted.`);
  const local = await view(file.slice(start, start + 30));
  if (local.byteLength < 30 || local.getUint32(0, true) !== LOCAL) {
    throw new Error(`${path} in ${file.name} is damaged.`);
  }
  const data = start + 30 + local.getUint16(26, true) + local.getUint16(28, true);
  const raw = file.slice(data, data + packed);
  const whole = method === 0 ? raw : method === 8 ? await inflated(raw) : null;
  if (whole === null) throw new Error(`${path} in ${file.name} is packed in a way that is not known here.`);
  if (whole.size !== size) throw new Error(`${path} in ${file.name} is damaged.`);
  return whole;
}

/** Nothing for what is no deflated data: its size is wrong then. */
async function inflated(raw: Blob): Promise<Blob> {
  try {
    return await new Response(raw.stream().pipeThrough(new DecompressionStream('deflate-raw'))).blob();
  } catch {
    return new Blob();
  }
}
