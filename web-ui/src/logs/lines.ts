/** Log lines as a list: joining what was asked for with what was followed, keeping it bounded, filtering. */

import type { LogLine } from '../api/types';

/** So many lines are kept on the page; older ones leave at the top. */
export const MAX_LINES = 1_000;

/** A line with a number of its own, so that equal lines stay apart on the page. */
export interface NumberedLine extends LogLine {
  number: number;
}

let nextNumber = 0;

function numbered(line: LogLine): NumberedLine {
  nextNumber += 1;
  return { ...line, text: readable(line), number: nextNumber };
}

/** `GET /about 200 3.2 ms 192.0.2.7` for a JSON line of the access log; others are their own text. */
function readable({ source, text }: LogLine): string {
  if (source !== 'access' || !text.startsWith('{')) return text;
  let told: Record<string, unknown>;
  try {
    told = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return text;
  }
  const { method, path, status, total_ms, client, error } = told;
  if (typeof path !== 'string' || typeof total_ms !== 'number') return text;
  const lasted = `${total_ms.toFixed(1)} ms`;
  return [method, path, status, lasted, client, error].filter((part) => part != null).join(' ');
}

function identity(line: LogLine): string {
  return `${line.at_ms}\u0000${line.source}\u0000${line.text}`;
}

/**
 * The end of the log as it was asked for, and after it what has been followed meanwhile. A line that came both
 * ways appears once; equal lines that were really written twice stay two.
 */
export function joinTail(tail: readonly LogLine[], followed: readonly LogLine[]): NumberedLine[] {
  const inTail = new Map<string, number>();
  for (const line of tail) inTail.set(identity(line), (inTail.get(identity(line)) ?? 0) + 1);
  const fresh = followed.filter((line) => {
    const left = inTail.get(identity(line)) ?? 0;
    if (left > 0) inTail.set(identity(line), left - 1);
    return left === 0;
  });
  return [...tail, ...fresh].slice(-MAX_LINES).map(numbered);
}

/** The lines and the new ones after them, at most `MAX_LINES`. */
export function appendLines(lines: readonly NumberedLine[], added: readonly LogLine[]): NumberedLine[] {
  return [...lines, ...added.slice(-MAX_LINES).map(numbered)].slice(-MAX_LINES);
}

/** What a filter lets through: a source (or all, when empty) and a text in any case. */
export interface LogFilter {
  source: string;
  text: string;
}

export function matches(line: LogLine, filter: LogFilter): boolean {
  if (filter.source !== '' && line.source !== filter.source) return false;
  return line.text.toLowerCase().includes(filter.text.toLowerCase());
}

/** A piece of a line, and whether it is what the filter looked for. */
export interface Piece {
  text: string;
  hit: boolean;
}

/** Cuts a line at each place where `wanted` stands in it. */
export function highlight(text: string, wanted: string): Piece[] {
  if (wanted === '') return [{ text, hit: false }];
  const pieces: Piece[] = [];
  const lower = text.toLowerCase();
  const needle = wanted.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(needle); at !== -1; at = lower.indexOf(needle, from)) {
    if (at > from) pieces.push({ text: text.slice(from, at), hit: false });
    pieces.push({ text: text.slice(at, at + needle.length), hit: true });
    from = at + needle.length;
  }
  if (from < text.length) pieces.push({ text: text.slice(from), hit: false });
  return pieces;
}
