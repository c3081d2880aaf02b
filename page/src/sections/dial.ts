// The dial: kind of noise, level, seed; the columns that it turns; and quality against level with a dot.
import { Chart, type Line } from '../chart';
import { command, h, newest, reason, status, unique } from '../dom';
import type { Feed } from '../feed';
import { kindName, levelText, measure, measureName, rowName } from '../format';
import type { Address, State } from '../state';
import type { CurvePoint, Dial, ImageRun, TextRun } from '../types';
import type { Columns } from './columns';

type AnyColumns = Columns<unknown, unknown>;

export class DialSection {
  readonly element: HTMLElement;
  state: State;
  private status = status();
  private range = h('input', { type: 'range', min: 0, step: 1, id: unique('level') });
  private output = h('output', { class: 'level', for: this.range.id });
  private explain = h('p', { class: 'explain' });
  private table = h('div', { class: 'held-out' });
  private command = h('div', {});
  private seedText = h('span', { class: 'seed' });
  private exampleText = h('span', { class: 'seed' });
  private measures: HTMLSelectElement;
  private chart: Chart;
  private points = new Map<string, CurvePoint[]>();
  private drawing = newest();
  private filling = newest();
  private heard: (() => void)[] = [];

  constructor(
    private feed: Feed,
    private index: number,
    private run: TextRun | ImageRun,
    private columns: AnyColumns,
    readonly address: Address,
  ) {
    const given = address.state;
    const dial = run.dials.find((each) => each.kind === given.kind) ?? run.dials[0]!;
    const level = dial.levels.find((each) => each === given.level) ?? dial.start;
    this.state = { kind: dial.kind, level, seed: Math.min(given.seed ?? 0, run.most_seed), example: Math.min(given.example ?? 0, columns.examples - 1) };
    columns.pick = (example) => this.set({ example });

    const kinds = h('select', { id: unique('kind'), onchange: () => this.set(this.startOf(kinds.value)) }, ...run.dials.map((each) => h('option', { value: each.kind, selected: each.kind === dial.kind }, kindName(each.kind))));
    this.range.addEventListener('input', () => this.set({ level: this.dial.levels[Number(this.range.value)]! }));
    this.measures = h('select', { id: unique('measure'), onchange: () => this.chooseMeasure() }, ...run.rows.map(([name]) => h('option', { value: name, selected: name === address.read('measure') }, measureName(name))));
    this.chart = new Chart({
      label: 'Quality against the level of the noise, for the model and its baselines; the table below has the figures at the dial.',
      x: 'level of the noise', y: '', xTick: (value) => levelText(this.dial.unit, Number(value.toPrecision(3))), yTick: (value) => this.tick(value),
      xRange: () => [this.dial.levels[0]!, this.dial.levels.at(-1)!],
    });
    const turn = (by: number) => () => this.set({ example: (this.state.example + by + columns.examples) % columns.examples });
    this.element = h(
      'div',
      { class: 'dial' },
      h('h3', { class: 'spoken' }, 'The dial'),
      h(
        'div',
        { class: 'controls' },
        h('label', { for: kinds.id }, 'Noise ', kinds),
        h('div', { class: 'turn' }, h('label', { for: this.range.id }, 'How much is destroyed'), this.range, this.output),
        run.most_seed > 0 && h('button', { type: 'button', onclick: () => this.set({ seed: (this.state.seed + 1) % (run.most_seed + 1) }), title: 'Draw the noise anew' }, h('span', { 'aria-hidden': 'true' }, '⚄ '), 'Throw again ', this.seedText),
        h('div', { class: 'pager' }, h('button', { type: 'button', 'aria-label': 'Previous example', onclick: turn(-1) }, '‹'), this.exampleText, h('button', { type: 'button', 'aria-label': 'Next example', onclick: turn(1) }, '›')),
      ),
      this.explain,
      columns.element,
      this.status,
      h('div', { class: 'against' }, h('div', { class: 'chart-head' }, h('h4', {}, 'Quality against level, all held-out examples'), h('label', { for: this.measures.id }, 'Measure ', this.measures)), h('div', { class: 'chart-and-table' }, this.chart.element, this.table)),
      this.command,
    );
    this.range.setAttribute('aria-describedby', (this.explain.id = unique('explain')));
  }

  get dial(): Dial {
    return this.run.dials.find((each) => each.kind === this.state.kind)!;
  }

  /** Be told when the dial has moved. */
  listen(heard: () => void): void {
    this.heard.push(heard);
  }

  /** The run as it is written in a command. */
  get runName(): string {
    return this.dial.command.split(' ')[2] ?? '';
  }

  private startOf(kind: string): Partial<State> {
    return { kind, level: this.run.dials.find((each) => each.kind === kind)!.start };
  }

  private tick(value: number): string {
    return this.measures.value === 'accuracy' ? `${Math.round(value * 100)}%` : String(Number(value.toPrecision(3)));
  }

  set(change: Partial<State>): Promise<void> {
    const kind = this.state.kind;
    this.state = { ...this.state, ...change };
    this.address.state = this.state;
    if (this.state.kind !== kind) void this.fillCurve();
    for (const each of this.heard) each();
    return this.redraw();
  }

  /** Draw what the state says; used for the first picture too. */
  redraw(): Promise<void> {
    const { dial, state } = this;
    this.range.max = String(dial.levels.length - 1);
    this.range.value = String(dial.levels.indexOf(state.level));
    const text = levelText(dial.unit, state.level);
    this.range.setAttribute('aria-valuetext', text);
    this.output.textContent = dial.unit === 'rate' ? text : `${dial.unit} ${text}`;
    this.explain.textContent = dial.words;
    this.seedText.textContent = `#${state.seed}`;
    this.exampleText.textContent = `example ${state.example + 1} of ${this.columns.examples}`;
    this.command.replaceChildren(command(`${dial.command} ${state.level}`));
    this.redrawChart();
    return this.drawing(async (isNewest) => {
      const path = `${state.kind}/${state.level}/${state.seed}`;
      const began = performance.now();
      try {
        const shot = await this.feed.get(`run/${this.index}/shot/${path}/${state.example}`);
        if (!isNewest()) return;
        this.columns.show(shot, state.example);
        this.status.textContent = '';
        performance.measure('redraw', { start: began, end: performance.now(), detail: path });
        // Asked for behind the model, which would share the processor with it; for a dial that has moved on, never.
        const timer = setTimeout(() => isNewest() && this.columns.showBaseline(null, shot, state.example), 400);
        const baseline = await this.feed.get(`run/${this.index}/baseline/${path}`).finally(() => clearTimeout(timer));
        if (isNewest()) this.columns.showBaseline(baseline, shot, state.example);
      } catch (error) {
        if (isNewest()) this.status.textContent = reason(error);
      }
    });
  }

  /** Ask for the curve, from the level of the dial outwards, so that the dot stands on something soon. */
  fillCurve(): Promise<void> {
    const { dial } = this;
    return this.filling(async (isNewest) => {
      const found = this.points.get(dial.kind) ?? [];
      this.points.set(dial.kind, found);
      const at = this.state.level;
      const order = [...dial.levels].sort((a, b) => Math.abs(a - at) - Math.abs(b - at));
      for (const level of order) {
        if (!isNewest()) return;
        if (found.some((point) => point.level === level)) continue;
        try {
          found.push(await this.feed.get<CurvePoint>(`run/${this.index}/curve/${dial.kind}/${level}`));
        } catch {
          continue; // a level with nothing to score
        }
        found.sort((a, b) => a.level - b.level);
        if (isNewest()) this.redrawChart();
      }
    });
  }

  private chooseMeasure(): void {
    this.address.keep('measure', this.measures.selectedIndex ? this.measures.value : null);
    this.redrawChart();
  }

  private redrawChart(): void {
    const name = this.measures.value;
    const points = this.points.get(this.state.kind) ?? [];
    // A baseline that chooses its own strength ("blur 0.5") is one line.
    const family = (row: string): string => row.replace(/ [\d.]+$/, '');
    const rows = [...new Set(points.flatMap((point) => Object.keys(point.held_out).map(family)))];
    const lines: Line[] = rows.map((row) => ({
      name: rowName(row),
      strong: row === 'model',
      points: points.flatMap((point): [number, number][] => {
        const found = Object.entries(point.held_out).find(([each]) => family(each) === row)?.[1][name];
        return found === undefined ? [] : [[point.level, found]];
      }),
    }));
    this.chart.draw(lines);
    this.chart.point(this.state.level);
    const here = points.find((point) => point.level === this.state.level);
    this.table.replaceChildren(here ? this.figures(here) : h('p', { class: 'explain' }, 'The held-out figures at this level are being computed …'));
  }

  private figures(point: CurvePoint): HTMLElement {
    const rows = this.run.rows.map(([name]) => name).filter((name) => point.held_out['model']?.[name] !== undefined);
    const of = point.asked ?? `${point.scored.toLocaleString('en')} positions scored`;
    return h(
      'table',
      {},
      h('caption', {}, of),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'All held out'), ...rows.map((name) => h('th', { scope: 'col' }, measureName(name))))),
      h('tbody', {}, ...Object.entries(point.held_out).map(([row, values]) => h('tr', { class: row === 'model' ? 'model' : '' }, h('th', { scope: 'row' }, rowName(row)), ...rows.map((name) => h('td', {}, values[name] === undefined ? '' : measure(name, values[name]!)))))),
    );
  }
}
