import { describe, expect, it } from 'vitest';

import type { LogLine } from '../api/types';
import { MAX_LINES, appendLines, highlight, joinTail, matches } from './lines';

const line = (at_ms: number, text: string, source = 'app'): LogLine => ({ at_ms, source, text });
const texts = (lines: readonly LogLine[]) => lines.map((one) => one.text);

describe('joinTail', () => {
  it('shows a line once that was asked for and followed', () => {
    const joined = joinTail([line(1, 'a'), line(2, 'b')], [line(2, 'b'), line(3, 'c')]);
    expect(texts(joined)).toEqual(['a', 'b', 'c']);
  });

  it('keeps lines apart that were really written twice', () => {
    const joined = joinTail([line(1, 'a')], [line(1, 'a'), line(1, 'a')]);
    expect(texts(joined)).toEqual(['a', 'a']);
    expect(new Set(joined.map((one) => one.number)).size).toBe(2);
  });
});

it('forgets the oldest lines beyond the limit', () => {
  const many = Array.from({ length: MAX_LINES + 10 }, (_, index) => line(index, `${index}`));
  const lines = appendLines(joinTail([line(-1, 'first')], []), many);
  expect(lines).toHaveLength(MAX_LINES);
  expect(lines[0]?.text).toBe('10');
});

describe('matches', () => {
  it('looks for text in any case and for a source', () => {
    expect(matches(line(1, 'GET /Posts'), { source: '', text: 'posts' })).toBe(true);
    expect(matches(line(1, 'GET /posts', 'access'), { source: 'app', text: '' })).toBe(false);
    expect(matches(line(1, 'GET /posts'), { source: 'app', text: 'login' })).toBe(false);
  });
});

describe('highlight', () => {
  it('cuts out every hit and loses no character', () => {
    expect(highlight('Ab ab', 'AB')).toEqual([
      { text: 'Ab', hit: true },
      { text: ' ', hit: false },
      { text: 'ab', hit: true },
    ]);
  });

  it('leaves a line whole when nothing is looked for', () => {
    expect(highlight('a.b', '')).toEqual([{ text: 'a.b', hit: false }]);
  });

  it('takes the wanted text literally', () => {
    expect(highlight('axb a.b', 'a.b').filter((piece) => piece.hit)).toEqual([{ text: 'a.b', hit: true }]);
  });
});
