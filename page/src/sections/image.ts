// The four columns of pictures: clean, corrupted, rebuilt, the best baseline; the difference on hover.
import { h } from '../dom';
import { imageFigures } from '../format';
import { canvas, difference, draw, picture, rgba, unpack } from '../pixels';
import type { ImageBaseline, ImageRun, ImageShot } from '../types';
import type { Columns } from './columns';

const NAMES = ['Clean', 'Corrupted', 'Rebuilt', 'Best baseline'];

export class ImageColumns implements Columns<ImageShot, ImageBaseline> {
  readonly element: HTMLElement;
  pick?: (example: number) => void;
  private clean: Uint8Array;
  private shown: (Uint8Array | null)[] = [null, null, null, null];
  private differs = false;
  private hovered = -1;
  private parts = NAMES.map((name, index) => {
    const title = h('h4', {}, name), figure = h('p', { class: 'figure' }, '\u00a0');
    const view = canvas(this.run.shape, name);
    view.addEventListener('pointerenter', () => this.hover(index));
    view.addEventListener('pointerleave', () => this.hover(-1));
    return { title, figure, view, column: h('div', { class: 'column' }, title, figure, h('div', { class: 'body' }, view)) };
  });
  private strip: HTMLButtonElement[] = [];

  constructor(private run: ImageRun) {
    this.clean = unpack(run.clean);
    const count = this.examples;
    for (let i = 0; i < count; i++) {
      const small = canvas(run.shape, '');
      small.setAttribute('aria-hidden', 'true');
      small.removeAttribute('role');
      draw(small, rgba(picture(this.clean, run.shape, i), run.shape));
      const name = run.names[i] ? `, ${run.names[i]}` : '';
      this.strip.push(h('button', { type: 'button', class: 'thumb', 'aria-label': `Picture ${i + 1}${name}`, onclick: () => this.pick?.(i) }, small));
    }
    const toggle = h('input', { type: 'checkbox', onchange: (event: Event) => { this.differs = (event.target as HTMLInputElement).checked; this.draw(); } });
    this.element = h(
      'div',
      { class: 'pictures' },
      h('div', { class: 'columns four' }, ...this.parts.map((each) => each.column)),
      h('div', { class: 'strip' }, h('div', { class: 'thumbs', role: 'group', 'aria-label': 'Held-out pictures' }, ...this.strip),
        h('label', { class: 'check' }, toggle, ' Show the difference from the clean picture (or hover): ', h('span', { class: 'too-dark' }, 'too dark'), ', ', h('span', { class: 'too-bright' }, 'too bright'))),
    );
  }

  get examples(): number {
    const [c, height, w] = this.run.shape;
    return this.clean.length / (c * height * w);
  }

  private hover(index: number): void {
    this.hovered = index;
    this.draw();
  }

  private draw(): void {
    const { shape } = this.run;
    const clean = this.shown[0];
    this.parts.forEach(({ view }, index) => {
      const pixels = this.shown[index];
      if (!pixels || !clean) return;
      const differs = index > 0 && (this.differs || this.hovered === index);
      draw(view, differs ? difference(pixels, clean, shape) : rgba(pixels, shape));
    });
  }

  show(shot: ImageShot, example: number): void {
    const { shape } = this.run;
    this.shown = [picture(this.clean, shape, example), unpack(shot.corrupted), unpack(shot.rebuilt), this.shown[3] ?? null];
    this.parts[0]!.figure.textContent = this.run.names[example] ? `class ${this.run.names[example]}, held out` : 'held out of training';
    this.parts[1]!.figure.textContent = imageFigures(shot.corrupted_figures[0]!);
    this.parts[2]!.figure.textContent = imageFigures(shot.rebuilt_figures[0]!);
    this.strip.forEach((each, i) => each.setAttribute('aria-pressed', String(i === example)));
    this.draw();
  }

  showBaseline(baseline: ImageBaseline | null, _shot: ImageShot, example: number): void {
    const last = this.parts[3]!;
    if (!baseline) {
      last.figure.textContent = 'fitting …';
      return;
    }
    last.title.textContent = `Best baseline: ${baseline.name}`;
    last.figure.textContent = imageFigures(baseline.rebuilt_figures[example]!);
    this.shown[3] = picture(unpack(baseline.rebuilt), this.run.shape, example);
    this.draw();
  }
}
