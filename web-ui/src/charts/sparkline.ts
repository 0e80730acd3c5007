/** The path of a sparkline in a box of 100 × 100: one line for each run of values, broken at gaps. */

import { WINDOW_S, type Value } from './history';

/** The smallest top of the scale, so that one request a second does not look like a storm. */
const LEAST_TOP = 5;

export interface SparklinePaths {
  line: string;
  area: string;
}

export function sparklinePaths(times_s: readonly number[], values: readonly Value[]): SparklinePaths {
  const end = times_s.at(-1) ?? 0;
  const top = Math.max(LEAST_TOP, ...values.map((value) => value ?? 0));
  const toPoint = (time: number, value: number): string => {
    const x = 100 - ((end - time) / WINDOW_S) * 100;
    const y = 97 - (value / top) * 94;
    return `${x.toFixed(2)} ${y.toFixed(2)}`;
  };

  let line = '';
  let area = '';
  let run: string[] = [];
  const finishRun = () => {
    const [first] = run;
    const last = run.at(-1);
    if (first !== undefined && last !== undefined) {
      line += `M${run.join('L')}`;
      area += `M${first.split(' ')[0]} 100L${run.join('L')}L${last.split(' ')[0]} 100Z`;
    }
    run = [];
  };
  values.forEach((value, index) => {
    const time = times_s[index];
    if (value === null || time === undefined) finishRun();
    else run.push(toPoint(time, value));
  });
  finishRun();
  return { line, area };
}
