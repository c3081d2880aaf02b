// A line chart in SVG: several lines, bands, a cursor with a dot on the first line.
import { h, s } from './dom';

export interface Line {
  name: string;
  points: [x: number, y: number][];
  /** Ends of the interval of each point. */
  band?: [low: number, high: number][];
  /** A learned model, drawn strong; else a baseline, dashed. */
  strong?: boolean;
  flat?: boolean;
}

export interface ChartOptions {
  label: string;
  x: string;
  y: string;
  xTick: (value: number) => string;
  yTick: (value: number) => string;
  logX?: boolean;
  xRange?: () => [number, number];
}

const W = 640, H = 300, LEFT = 56, RIGHT = 14, TOP = 12, BOTTOM = 44;

/** Round numbers between two ends, about `most` of them. */
export function ticks(low: number, high: number, most: number): number[] {
  const span = high - low || Math.abs(high) || 1;
  const raw = span / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw)!;
  const found: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

export class Chart {
  readonly element: HTMLElement;
  private svg = s('svg', { viewBox: `0 0 ${W} ${H}`, role: 'img' });
  private legend = h('ul', { class: 'legend' });
  private dots = s('g', {});
  private cursor: number | null = null;
  private lines: Line[] = [];
  private x: (value: number) => number = () => 0;
  private y: (value: number) => number = () => 0;

  constructor(private options: ChartOptions) {
    this.element = h('div', { class: 'chart' }, this.svg, this.legend);
    this.svg.setAttribute('aria-label', options.label);
  }

  draw(lines: Line[]): void {
    this.lines = lines.filter((line) => line.points.length);
    const { options } = this;
    const all = this.lines.flatMap((line) => line.points);
    const bands = this.lines.flatMap((line) => (line.strong ? (line.band ?? []).flat() : []));
    if (!all.length) return;
    const xs = options.xRange?.() ?? [Math.min(...all.map((p) => p[0])), Math.max(...all.map((p) => p[0]))];
    const ys = [...all.map((p) => p[1]), ...bands].filter(Number.isFinite);
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    const f = options.logX ? Math.log : (value: number) => value;
    const [x0, x1, y0, y1] = [f(xs[0]!), f(xs[1]!), low - room, high + room];
    this.x = (value) => LEFT + ((f(value) - x0) / (x1 - x0 || 1)) * (W - LEFT - RIGHT);
    this.y = (value) => H - BOTTOM - ((value - y0) / (y1 - y0)) * (H - TOP - BOTTOM);

    const axes = s('g', { class: 'axes' });
    for (const value of ticks(y0 + room / 2, y1 - room / 2, 5)) {
      const y = this.y(value);
      axes.append(s('line', { x1: LEFT, x2: W - RIGHT, y1: y, y2: y }), s('text', { x: LEFT - 8, y: y + 4, 'text-anchor': 'end' }, options.yTick(value)));
    }
    const positions = options.logX ? [...new Set(all.map((p) => p[0]))] : ticks(xs[0]!, xs[1]!, 6);
    let before = -Infinity;
    for (const value of positions.sort((a, b) => a - b)) {
      const x = this.x(value);
      if (x - before < 44) continue;
      before = x;
      axes.append(s('text', { x, y: H - BOTTOM + 18, 'text-anchor': 'middle' }, options.xTick(value)));
    }
    axes.append(
      s('text', { x: (LEFT + W - RIGHT) / 2, y: H - 6, 'text-anchor': 'middle', class: 'title' }, options.x),
      s('text', { x: -(TOP + H - BOTTOM) / 2, y: 14, transform: 'rotate(-90)', 'text-anchor': 'middle', class: 'title' }, options.y),
    );
    const drawn = this.lines.map((line, index) => {
      const path = line.points.map(([x, y], i) => `${i ? 'L' : 'M'}${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`).join('');
      const marks = line.flat ? [] : line.points.map(([x, y]) => s('circle', { cx: this.x(x), cy: this.y(y), r: line.points.length > 40 ? 0 : 2.2 }));
      const bars = (line.band ?? []).map(([a, b], i) => {
        const x = this.x(line.points[i]![0]) + (index - this.lines.length / 2) * 2;
        return s('line', { x1: x, x2: x, y1: this.y(a), y2: this.y(b), class: 'bar' });
      });
      return s('g', { class: `line c${index % 7}${line.strong ? ' strong' : ''}` }, ...bars, s('path', { d: path, fill: 'none' }), ...marks);
    });
    this.svg.replaceChildren(axes, ...drawn, this.dots);
    this.legend.replaceChildren(
      ...this.lines.map((line, index) => h('li', { class: `c${index % 7}${line.strong ? ' strong' : ''}` }, h('span', { class: 'key', 'aria-hidden': 'true' }), line.name)),
    );
    this.point(this.cursor);
  }

  /** Move the cursor to a place, with a dot on every line there. */
  point(x: number | null): void {
    this.cursor = x;
    this.dots.replaceChildren();
    if (x === null || !this.lines.length) return;
    const at = this.x(x);
    this.dots.append(s('line', { x1: at, x2: at, y1: TOP, y2: H - BOTTOM, class: 'cursor' }));
    this.lines.forEach((line, index) => {
      const y = between(line.points, x, this.options.logX);
      if (y !== null && !line.flat) this.dots.append(s('circle', { cx: at, cy: this.y(y), r: line.strong ? 6 : 3.5, class: `dot c${index % 7}` }));
    });
  }
}

/** The value of a line at a place, interpolated. */
export function between(points: [number, number][], x: number, log = false): number | null {
  const f = log ? Math.log : (value: number) => value;
  for (let i = 0; i < points.length; i++) {
    const [x1, y1] = points[i]!;
    if (Math.abs(x1 - x) < 1e-9) return y1;
    const next = points[i + 1];
    if (next && x > x1 && x < next[0]) return y1 + ((next[1] - y1) * (f(x) - f(x1))) / (f(next[0]) - f(x1));
  }
  return null;
}
