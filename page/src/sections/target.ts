// Why the target is the clean picture: the switch of `textdae demo target`.
import { command, h, unique } from '../dom';
import type { Feed } from '../feed';
import { canvas, draw, picture, rgba, unpack } from '../pixels';
import type { Target } from '../types';

export async function targetSection(feed: Feed, page: HTMLElement): Promise<void> {
  const target = await feed.get<Target>('target');
  const { shape } = target;
  const clean = unpack(target.clean);
  const count = clean.length / (shape[0] * shape[1] * shape[2]);
  const figure = h('p', { class: 'figure', role: 'status' });
  const rows = ['Clean', 'Corrupted', 'Rebuilt'].map((name) => {
    const pictures = Array.from({ length: count }, (_, i) => canvas(shape, `${name}, picture ${i + 1}`));
    return { pictures, element: h('div', { class: 'row-of' }, h('h3', {}, name), h('div', { class: 'film wide' }, ...pictures)) };
  });
  const fill = (row: number, pixels: (index: number) => Uint8Array): void => rows[row]!.pictures.forEach((view, i) => draw(view, rgba(pixels(i), shape)));
  const show = (side: 'clean' | 'noisy'): void => {
    const { rebuilt, psnr } = target.sides[side];
    fill(2, (i) => unpack(rebuilt[i]!));
    const noisy = target.noisy_psnr === null ? '' : ` The noisy picture itself: ${target.noisy_psnr.toFixed(1)} dB.`;
    figure.textContent = `Trained towards the ${side} picture: ${psnr.toFixed(1)} dB from the clean one.${noisy}`;
  };
  const name = unique('target');
  const choice = (side: 'clean' | 'noisy', words: string): HTMLElement => {
    const input = h('input', { type: 'radio', name, value: side, checked: side === 'clean', onchange: () => show(side) });
    return h('label', {}, input, ` ${words}`);
  };
  fill(0, (i) => picture(clean, shape, i));
  fill(1, (i) => unpack(target.corrupted[i]!));
  page.append(
    h('article', { class: 'run', 'aria-labelledby': 'why' }, h('h2', { id: 'why' }, h('span', { class: 'kicker' }, 'Why'), ' the target is the clean picture'),
      h('p', { class: 'explain' }, 'The same model, noise and data, trained twice: once to give back the original, once to give back what it was shown.'),
      h('fieldset', { class: 'controls' }, h('legend', { class: 'spoken' }, 'Target'), choice('clean', 'learn to give back the clean picture'), choice('noisy', 'learn to give back the noisy one')), figure, ...rows.map((row) => row.element), command(target.command)),
  );
  show('clean');
}
