/** How every chart over time looks: quiet grid, marks of what happened, colours from the style sheet. */

import uPlot from 'uplot';

import type { Value } from './history';
import { isolatedPoints, topOf } from './scale';
import { formatAxisTime } from '../format/times';

/** One line of a chart. */
export interface Curve {
  label: string;
  values: Value[];
  /** The custom property with its colour: `--chart-p99`. */
  color: string;
  /** The custom property with the colour of the area under it, if that is filled. */
  area?: string;
}

/** A moment at which something happened. */
export interface Marker {
  at_s: number;
  tone: 'new' | 'bad' | 'plain';
}

export interface ChartShape {
  curves: readonly Pick<Curve, 'label' | 'color' | 'area'>[];
  /** Whether round values are powers of two, as bytes are counted. */
  binary: boolean;
  /** Whether each curve stands on the others: then all is filled. */
  stacked: boolean;
  markers: () => readonly Marker[];
  /** A round value of the y axis as text. */
  formatTick: (value: number) => string;
  /** The smallest top of the y axis, so that nothing looks dramatic while little happens. */
  leastTop: number;
  /** The moment under the pointer, as an index; `null` when there is none. */
  onhover: (index: number | null) => void;
  /** A part of the time axis that was dragged over, in seconds. */
  ondrag: (from_s: number, to_s: number) => void;
}

const POWERS_OF_TWO = Array.from({ length: 50 }, (_, exponent) => 2 ** exponent);
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
    padding: [10, 16, 0, 0],
    legend: { show: false },
    scales: {
      x: { time: true, range: (u) => [u.data[0][0] ?? 0, u.data[0].at(-1) ?? 1] },
      y: { range: (_u, _min, max) => [0, topOf(max, shape.leastTop)] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 30,
        space: 64,
        values: (_u, splits) => splits.map((at_s) => formatAxisTime(at_s * 1000)),
      },
      {
        ...axis,
        size: 60,
        space: 36,
        ...(shape.binary ? { incrs: POWERS_OF_TWO } : {}),
        values: (_u, splits) => splits.map(shape.formatTick),
      },
    ],
    series: [
      {},
      ...shape.curves.map((curve): uPlot.Series => ({
        label: curve.label,
        stroke: color(curve.color),
        width: shape.stacked ? 1 : 1.75,
        spanGaps: false,
        ...(shape.stacked ? { fill: color(curve.color) } : {}),
        ...(curve.area ? { fill: color(curve.area) } : {}),
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
      drag: { x: true, y: false, setScale: false, dist: 5 },
      points: { size: 7 },
      // Pointing at one chart marks the same moment in the others; what is dragged over is one chart's alone.
      sync: { key: 'onebox', scales: ['x', null], filters: { pub: (event) => event === 'mousemove' } },
    },
    hooks: {
      setCursor: [(u) => shape.onhover(u.cursor.idx ?? null)],
      setSelect: [
        ({ select, posToVal }) => {
          const [from_s, to_s] = [select.left, select.left + select.width].map((left) => posToVal(left, 'x'));
          if (from_s !== undefined && to_s !== undefined && from_s < to_s) shape.ondrag(from_s, to_s);
        },
      ],
      draw: [(u) => drawMarkers(u, shape.markers(), color)],
    },
  };
}

const MARKER_COLORS = { new: '--chart-mark-new', bad: '--chart-mark-bad', plain: '--chart-mark' } as const;

/** A dashed line from top to bottom with a small flag. */
function drawMarkers(u: uPlot, all: readonly Marker[], color: (property: string) => () => string): void {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const pixel = devicePixelRatio;
  ctx.save();
  ctx.lineWidth = pixel;
  ctx.setLineDash([3 * pixel, 3 * pixel]);
  for (const { at_s, tone } of all) {
    const x = Math.round(u.valToPos(at_s, 'x', true));
    if (x < left || x > left + width) continue;
    ctx.strokeStyle = ctx.fillStyle = color(MARKER_COLORS[tone])();
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
    ctx.beginPath();
    ctx.moveTo(x - 4 * pixel, top);
    ctx.lineTo(x + 4 * pixel, top);
    ctx.lineTo(x, top + 6 * pixel);
    ctx.fill();
  }
  ctx.restore();
}
