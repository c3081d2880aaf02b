// A passage of text with some of its pieces hidden, guessed or clean.
import { h } from '../dom';
import type { Passage } from '../types';

export type Mark = 'hidden' | 'swapped' | 'right' | 'wrong';

export interface Marked {
  text: string;
  mark: Mark;
  /** For screen readers and the pointer. */
  title?: string;
  press?: () => void;
  pressed?: boolean;
}

const SPOKEN: Record<Mark, string> = { hidden: 'hidden', swapped: 'swapped', right: 'right', wrong: 'wrong' };

/** The pieces of a passage, those in `marks` replaced. */
export function passage(of: Passage, marks: Map<number, Marked>): HTMLElement {
  const line = h('p', { class: 'passage' });
  of.pieces.forEach((piece, index) => {
    const mark = marks.get(index);
    if (!mark) {
      line.append(piece);
      return;
    }
    if (/^\s/.test(piece)) line.append(' ');
    const text = mark.text.trim() || '␣';
    const spoken = mark.title ?? `${SPOKEN[mark.mark]}: ${text}`;
    line.append(
      mark.press
        ? h('button', { type: 'button', class: `piece ${mark.mark}`, 'aria-label': spoken, title: spoken, 'aria-pressed': mark.pressed ? 'true' : 'false', onclick: mark.press }, text)
        : h('span', { class: `piece ${mark.mark}` }, h('span', { 'aria-hidden': 'true' }, text), h('span', { class: 'spoken' }, `(${spoken})`)),
    );
  });
  return line;
}

/** Guesses for one place, with bars. */
export function guessBars(guesses: [string, number][], truth: string): HTMLElement {
  return h(
    'ol',
    { class: 'bars' },
    ...guesses.map(([token, chance]) => {
      const bar = h('span', { class: 'fill' });
      bar.style.width = `${Math.max(1, chance * 100)}%`;
      return h('li', { class: token === truth ? 'right' : '' }, h('span', { class: 'token' }, token || '␣'), h('span', { class: 'track', 'aria-hidden': 'true' }, bar), h('span', { class: 'number' }, `${(chance * 100).toFixed(1)}%`));
    }),
  );
}

/** The clean text of a piece. */
export const pieceText = (of: Passage, place: number): string => (of.pieces[place] ?? '').trim();
