/** Figures for people: short, without false precision, with a unit where there is one. */

const NO_BREAK = '\u00a0';

function fixed(value: number, digits: number): string {
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** At most one decimal: `0`, `0.4`, `12.5`, `340`, `12.3k`. */
export function formatRate(perSecond: number): string {
  if (perSecond >= 9_999.5) return `${fixed(perSecond / 1000, 1)}k`;
  if (perSecond >= 99.95) return fixed(perSecond, 0);
  return perSecond.toLocaleString('en', { maximumFractionDigits: 1 });
}

/** `0.42 ms`, `8.1 ms`, `340 ms`, `1.25 s`. */
export function formatLatency(ms: number): string {
  if (ms >= 999.5) return `${fixed(ms / 1000, 2)}${NO_BREAK}s`;
  if (ms >= 99.95) return `${fixed(ms, 0)}${NO_BREAK}ms`;
  if (ms >= 9.995) return `${fixed(ms, 1)}${NO_BREAK}ms`;
  return `${fixed(ms, 2)}${NO_BREAK}ms`;
}

/** Round values, as on an axis: `0 ms`, `2.5 ms`, `40 ms`, `1.5 s`. */
export function formatLatencyTick(ms: number): string {
  const [value, unit] = ms >= 1000 ? [ms / 1000, 's'] : [ms, 'ms'];
  return `${formatNumber(value)}${NO_BREAK}${unit}`;
}

/** Powers of 1024, as the appliance's own settings mean them: `48.2 MB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${fixed(value, unit === 0 || value >= 100 ? 0 : 1)}${NO_BREAK}${units[unit]}`;
}

/** Bytes each second: `48.2 KB/s`. */
export function formatByteRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

/** Round ones of these, as on an axis. */
export function formatByteRateTick(bytesPerSecond: number): string {
  return `${formatBytesTick(bytesPerSecond)}/s`;
}

/** Round values, as on an axis: `0 B`, `64 MB`, `1.5 GB`. */
export function formatBytesTick(bytes: number): string {
  return formatBytes(bytes).replace('.0', '');
}

/** A share of one core as per cent: `3.5 %`. */
export function formatCpu(share: number): string {
  const percent = share * 100;
  return `${fixed(percent, percent >= 10 ? 0 : 1)}${NO_BREAK}%`;
}

/** Round shares, as on an axis: `0 %`, `2.5 %`, `40 %`. */
export function formatShareTick(share: number): string {
  return `${formatNumber(share * 100)}${NO_BREAK}%`;
}

/** At most two decimals: `0`, `0.25`, `12.5`. */
export function formatNumber(value: number): string {
  return value.toLocaleString('en', { maximumFractionDigits: 2 });
}

/** `1 site`, `3 sites`. */
export function formatCount(count: number, singular: string): string {
  return `${count.toLocaleString('en')} ${singular}${count === 1 ? '' : 's'}`;
}
