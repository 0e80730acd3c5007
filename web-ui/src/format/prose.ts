/** Sentences of the appliance: what stands between backticks in them is what somebody types. */

export interface Word {
  text: string;
  code: boolean;
}

/** The parts of a sentence; a backtick without another one stays what it is. */
export function toWords(text: string): Word[] {
  const words: Word[] = [];
  let from = 0;
  for (const found of text.matchAll(/`([^`\n]+)`/g)) {
    if (found.index > from) words.push({ text: text.slice(from, found.index), code: false });
    words.push({ text: found[1] ?? '', code: true });
    from = found.index + found[0].length;
  }
  if (from < text.length) words.push({ text: text.slice(from), code: false });
  return words;
}
