// The four columns of text: clean, corrupted, rebuilt, the best baseline; below, the guesses for one place.
import { h } from '../dom';
import { textFigures } from '../format';
import type { TextExample, TextBaseline, TextBaselineExample, TextRun } from '../types';
import { guessBars, passage, pieceText, type Marked } from './passage';
import type { Columns } from './columns';

export class TextColumns implements Columns<TextExample, TextBaseline> {
  readonly element: HTMLElement;
  private bodies = ['Clean', 'Corrupted', 'Rebuilt', 'Best baseline'].map((name) => {
    const title = h('h4', {}, name), figure = h('p', { class: 'figure' }, '\u00a0'), body = h('div', { class: 'body' });
    return { title, figure, body, column: h('div', { class: 'column' }, title, figure, body) };
  });
  private detail = h('div', { class: 'guesses', 'aria-live': 'polite' });
  private example = 0;
  private place: number | null = null;
  private shot: TextExample | null = null;

  constructor(private run: TextRun) {
    this.element = h('div', {}, h('div', { class: 'columns four' }, ...this.bodies.map((each) => each.column)), this.detail);
  }

  get examples(): number {
    return this.run.clean.length;
  }

  show(shot: TextExample, example: number): void {
    this.example = example;
    this.shot = shot;
    const positions = shot.hidden;
    if (this.place === null || !positions.includes(this.place)) this.place = positions.find((_, i) => !shot.right[i]) ?? positions[0] ?? null;
    this.draw();
  }

  private draw(): void {
    const { shot, run } = this;
    if (!shot) return;
    const clean = run.clean[this.example]!;
    const [first, second, third] = this.bodies;
    const from = run.names[this.example] ? ` from ${run.names[this.example]}` : '';
    first!.figure.textContent = `${clean.pieces.length} tokens${from}, held out of training`;
    first!.body.replaceChildren(passage(clean, new Map()));
    const hidden = new Map<number, Marked>();
    const rebuilt = new Map<number, Marked>();
    shot.hidden.forEach((place, i) => {
      const seen = shot.shown[i] ?? null;
      const truth = pieceText(clean, place);
      hidden.set(place, seen === null ? { text: '▇'.repeat(Math.min(8, Math.max(2, truth.length))), mark: 'hidden', title: 'hidden' } : { text: seen, mark: 'swapped', title: `scored, shown as ${seen.trim()}` });
      const guess = shot.guesses[i]![0]![0];
      rebuilt.set(place, {
        text: guess,
        mark: shot.right[i] ? 'right' : 'wrong',
        title: shot.right[i] ? `${guess}, right` : `${guess}, wrong: it was ${truth}`,
        pressed: place === this.place,
        press: () => {
          this.place = place;
          this.draw();
          this.element.querySelector<HTMLElement>('.piece[aria-pressed=true]')?.focus();
        },
      });
    });
    const scored = shot.hidden.length;
    const masked = shot.shown.filter((each) => each === null).length;
    second!.figure.textContent = `${scored} of ${clean.pieces.length} tokens ${masked === scored ? 'hidden' : masked ? `scored, ${masked} masked` : 'changed'}`;
    second!.body.replaceChildren(passage(clean, hidden));
    third!.figure.textContent = textFigures(shot.figures);
    third!.body.replaceChildren(passage(clean, rebuilt));
    const at = this.place === null ? -1 : shot.hidden.indexOf(this.place);
    if (at < 0) {
      this.detail.replaceChildren(h('p', {}, 'Nothing is hidden at this level: turn the dial up.'));
      return;
    }
    const truth = pieceText(clean, this.place!);
    this.detail.replaceChildren(h('p', {}, 'Five guesses for ', h('strong', {}, truth), '. Press a word in “Rebuilt” for another.'), guessBars(shot.guesses[at]!, truth));
  }

  showBaseline(baseline: TextBaseline | null, shot: TextExample, example: number): void {
    const last = this.bodies[3]!;
    if (!baseline) {
      last.figure.textContent = 'counting …';
      return;
    }
    last.title.textContent = `Best baseline: ${baseline.name}`;
    const mine: TextBaselineExample = baseline.examples[example]!;
    last.figure.textContent = textFigures(mine.figures);
    last.body.replaceChildren(passage(this.run.clean[example]!, baselineMarks(shot.hidden, mine)));
  }
}

/** The guesses of a baseline, where something is hidden. */
export function baselineMarks(hidden: number[], baseline: TextBaselineExample): Map<number, Marked> {
  return new Map(hidden.map((place, i) => [place, { text: baseline.guesses[i]!, mark: baseline.right[i] ? 'right' : 'wrong' }]));
}
