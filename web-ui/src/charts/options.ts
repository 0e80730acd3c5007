/** How every chart over time looks: a fixed window that ends now, quiet grid, colours from the style sheet. */

import uPlot from 'uplot';

import { WINDOW_S, type Value } from './history';
import { isolatedPoints, topOf } from './scale';

/** One line of a chart. */
export interface Curve {
  label: string;
  values: Value[];
  /** The custom property with its colour: `--chart-p99`. */
  color: string;
  /** The custom property with the colour of the area under it, if that is filled. */
  area?: string;
  /** Bars for what is mostly zero and should then not be seen; else a line. */
  bars?: boolean;
}

export interface ChartShape {
  curves: readonly Pick<Curve, 'label' | 'color' | 'area' | 'bars'>[];
  /** A round value of the y axis as text. */
  formatTick: (value: number) => string;
  /** The smallest top of the y axis, so that nothing looks dramatic while little happens. */
  leastTop: number;
  /** The moment under the pointer, as an index; `null` when there is none. */
  onhover: (index: number | null) => void;
}

const axisClock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
/** From 2 to 4 pixels wide. */
const BARS = uPlot.paths.bars?.({ size: [0.8, 4, 2] });
const FONT = '12px system-ui, sans-serif';

/** uPlot's options; `root` is where custom properties are looked up, at each drawing. */
export function chartOptions(root: Element, shape: ChartShape, width: number, height: number): uPlot.Options {
  const color = (property: string) => () => getComputedStyle(root).getPropertyValue(property).trim();
  const axis: uPlot.Axis = {
    stroke: color('--chart-axis'),
    font: FONT,
    ticks: { show: false },
    grid: { stroke: color('--chart-grid'), width: 1 },
  };
  return {
    width,
    height,
    padding: [10, 8, 0, 0],
    legend: { show: false },
    scales: {
      x: { time: true, range: (_u, _min, max) => [max - WINDOW_S, max] },
      y: { range: (_u, _min, max) => [0, topOf(max, shape.leastTop)] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 30,
        // A label each minute.
        incrs: [60],
        space: 40,
        values: (_u, splits) => splits.map((at_s) => axisClock.format(at_s * 1000)),
      },
      { ...axis, size: 56, space: 36, values: (_u, splits) => splits.map(shape.formatTick) },
    ],
    series: [
      {},
      ...shape.curves.map((curve): uPlot.Series => ({
        label: curve.label,
        stroke: color(curve.color),
        width: 1.75,
        spanGaps: false,
        ...(curve.area ? { fill: color(curve.area) } : {}),
        ...(curve.bars && BARS ? { paths: BARS, fill: color(curve.color), width: 0 } : {}),
        points: {
          show: false,
          size: 4,
          stroke: color(curve.color),
          fill: color(curve.color),
          filter: (u, index) => isolatedPoints(u.data[index] ?? []),
        },
      })),
    ],
    cursor: {
      y: false,
      drag: { x: false, y: false, setScale: false },
      points: { size: 7 },
      // Pointing at one chart marks the same moment in the others.
      sync: { key: 'onebox', scales: ['x', null] },
    },
    hooks: { setCursor: [(u) => shape.onhover(u.cursor.idx ?? null)] },
  };
}
