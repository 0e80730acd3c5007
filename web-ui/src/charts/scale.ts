/** Small decisions about a chart's points and its y axis. */

/** The values that stand alone between gaps: a line would not show them, so they become dots. */
export function isolatedPoints(values: ArrayLike<number | null | undefined>): number[] {
  const found: number[] = [];
  for (let index = 0; index < values.length; index += 1) {
    const alone = values[index - 1] == null && values[index + 1] == null;
    if (values[index] != null && alone) found.push(index);
  }
  return found;
}

/** Room above the highest value, and never less than `leastTop`. */
export function topOf(highest: number | null, leastTop: number): number {
  return Math.max(leastTop, (highest ?? 0) * 1.12);
}
