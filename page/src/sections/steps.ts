// Text filled in rounds, a picture in a chain; scrubbed back and forth.
import { command, h, newest, reason, status } from '../dom';
import type { Feed } from '../feed';
import { imageFigures } from '../format';
import { canvas, draw, picture, rgba, unpack } from '../pixels';
import { player, type Player } from '../player';
import type { ImageRun, ImageSteps, TextRun, TextSteps } from '../types';
import { whole } from '../state';
import type { DialSection } from './dial';
import { passage, type Marked } from './passage';

/** Where steps are at hand: at the level of the dial, or at the one next to it that was computed. */
function path(index: number, run: TextRun | ImageRun, dial: DialSection): string {
  const { kind, level, seed, example } = dial.state;
  const levels = run.steps_levels;
  const at = levels ? levels.reduce((best, each) => (Math.abs(each - level) < Math.abs(best - level) ? each : best)) : level;
  return `run/${index}/steps/${kind}/${at}/${levels ? 0 : seed}/${example}`;
}

/** Load the frames: at first at the one that the address names, later at the first. */
function loader(play: Player, dial: DialSection): (frames: number) => void {
  let at = whole(dial.address.read('round'));
  return (frames) => {
    play.load(frames, at);
    at = 0;
  };
}

/** Ask again whenever the dial has moved and rested. */
function onDial<T>(feed: Feed, index: number, run: TextRun | ImageRun, dial: DialSection, line: HTMLElement, draw: (steps: T, example: number) => void): void {
  const latest = newest();
  let timer = 0, before = '';
  const ask = (): Promise<void> =>
    latest(async (isNewest) => {
      const now = path(index, run, dial);
      if (now === before) return;
      before = now;
      try {
        const steps = await feed.get<T>(now);
        if (isNewest()) {
          line.textContent = '';
          draw(steps, dial.state.example);
        }
      } catch (error) {
        if (isNewest()) line.textContent = reason(error);
      }
    });
  dial.listen(() => {
    clearTimeout(timer);
    timer = window.setTimeout(() => void ask(), 250);
  });
  void ask();
}

export async function textSteps(feed: Feed, index: number, run: TextRun, dial: DialSection, section: HTMLElement): Promise<void> {
  const line = status(), body = h('div', { class: 'body steady' }), figure = h('p', { class: 'figure' });
  let steps: TextSteps | null = null, example = 0;
  const show = (frame: number): void => {
    if (!steps) return;
    dial.address.keep('round', frame ? String(frame) : null);
    const marks = new Map<number, Marked>(steps.hidden.map((place) => [place, { text: '▇▇▇', mark: 'hidden', title: 'hidden' }]));
    let right = 0, filled = 0;
    steps.rounds.slice(0, frame).forEach((round) =>
      round.positions.forEach((place, i) => {
        filled++;
        if (round.right[i]) right++;
        marks.set(place, { text: round.tokens[i]!, mark: round.right[i] ? 'right' : 'wrong' });
      }),
    );
    figure.textContent = `${filled} of ${steps.hidden.length} filled in, ${right} right`;
    body.replaceChildren(passage(run.clean[example]!, marks));
  };
  const play = player('Round', show), load = loader(play, dial);
  section.append(play.element, figure, body, line, command(`textdae denoise ${dial.runName} "… ${run.mask} …" --steps 8`));
  onDial<TextSteps>(feed, index, run, dial, line, (found, at) => {
    [steps, example] = [found, at];
    load(found.rounds.length + 1);
  });
}

export async function imageSteps(feed: Feed, index: number, run: ImageRun, dial: DialSection, section: HTMLElement): Promise<void> {
  const line = status(), view = canvas(run.shape, 'The picture at this step'), figure = h('p', { class: 'figure' });
  const row = h('div', { class: 'film', 'aria-hidden': 'true' });
  let steps: ImageSteps | null = null;
  let frames: Uint8Array = new Uint8Array();
  const show = (frame: number): void => {
    if (!steps) return;
    dial.address.keep('round', frame ? String(frame) : null);
    draw(view, rgba(picture(frames, run.shape, frame), run.shape));
    const name = frame === 0 ? 'as it is handed to the model' : frame === 1 ? 'after one step' : `after ${frame} steps`;
    figure.textContent = `${name}: ${imageFigures(steps.figures[frame]!)}`;
    [...row.children].forEach((each, i) => each.classList.toggle('now', i === frame));
  };
  const play = player('Step', show, 600), load = loader(play, dial);
  section.append(play.element, figure, h('div', { class: 'chain' }, h('div', { class: 'one' }, view), row), line, command(`textdae denoise ${dial.runName} PICTURE.png -o clean.png`));
  onDial<ImageSteps>(feed, index, run, dial, line, (found) => {
    [steps, frames] = [found, unpack(found.frames)];
    row.replaceChildren(
      ...found.figures.map((_, i) => {
        const small = canvas(run.shape, '');
        small.removeAttribute('role');
        small.removeAttribute('aria-label');
        draw(small, rgba(picture(frames, run.shape, i), run.shape));
        return small;
      }),
    );
    load(found.figures.length);
  });
}

