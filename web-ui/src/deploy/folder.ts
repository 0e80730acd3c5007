/** What is deployed: the files of a folder or of a zip, without what is never part of a site. */

export interface FolderFile {
  /** From the folder's root, with `/`. */
  path: string;
  body: Blob;
  modifiedMs: number;
  /** Whether it is a program; a browser knows that of a zip's files alone. */
  executable?: boolean;
}

export interface Folder {
  /** Its own name. */
  name: string;
  files: FolderFile[];
}

/** As the command line leaves them out, too. */
const LEFT_OUT = new Set([
  '.git',
  '.hg',
  '.svn',
  '.bzr',
  '.jj',
  '.onebox',
  '__pycache__',
  'node_modules',
  '.mypy_cache',
  '.pytest_cache',
  '.ruff_cache',
  '.tox',
  '.nox',
  '.idea',
  '.vscode',
]);

/** Whether no folder of a path, and not the file, is one that is left out. */
export function isWanted(path: string): boolean {
  return !path.endsWith('.pyc') && !path.split('/').some((part) => LEFT_OUT.has(part));
}

/** Without what is never part of a site, virtual environments among it, which hold a `pyvenv.cfg`. */
export function wanted(files: FolderFile[]): FolderFile[] {
  const environments = files
    .filter((file) => file.path.endsWith('/pyvenv.cfg'))
    .map((file) => file.path.slice(0, -'pyvenv.cfg'.length));
  return files.filter(
    (file) => isWanted(file.path) && !environments.some((environment) => file.path.startsWith(environment)),
  );
}

/** The one folder that all files are in, where there is one, becomes the root; its name, else `fallback`. */
export function rooted(files: FolderFile[], fallback: string): Folder {
  const [first = ''] = files.map((file) => file.path.split('/')[0] ?? '');
  const inside = files.every((file) => file.path.startsWith(`${first}/`));
  if (!inside || first === '') return { name: fallback, files: wanted(files) };
  const cut = files.map((file) => ({ ...file, path: file.path.slice(first.length + 1) }));
  return { name: first, files: wanted(cut) };
}

/** What the browser's picker of folders gave. */
export function picked(list: FileList): Folder {
  const files = [...list].map((file) => ({
    path: file.webkitRelativePath || file.name,
    body: file,
    modifiedMs: file.lastModified,
  }));
  return rooted(files, '');
}

/** What was dropped, where it is one folder; a `File`, where it is one file. */
export async function dropped(items: DataTransferItemList): Promise<Folder | File> {
  const [entry, ...more] = [...items].map((item) => item.webkitGetAsEntry());
  if (!entry || more.length > 0) throw new Error('Drop one folder, or one zip file.');
  if (entry.isFile) return fileOf(entry as FileSystemFileEntry);
  const files: FolderFile[] = [];
  await collect(entry as FileSystemDirectoryEntry, '', files);
  return { name: entry.name, files: wanted(files) };
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

async function collect(folder: FileSystemDirectoryEntry, prefix: string, files: FolderFile[]): Promise<void> {
  const reader = folder.createReader();
  for (;;) {
    // A hundred at a time; an empty answer is the end.
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (entries.length === 0) return;
    for (const entry of entries) {
      const path = prefix + entry.name;
      if (!isWanted(path)) continue;
      if (entry.isDirectory) {
        await collect(entry as FileSystemDirectoryEntry, `${path}/`, files);
      } else {
        const file = await fileOf(entry as FileSystemFileEntry);
        files.push({ path, body: file, modifiedMs: file.lastModified });
      }
    }
  }
}
