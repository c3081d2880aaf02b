// The loss with its baselines, live while a run goes on; and the same examples through the checkpoints.
import { Chart, type Line } from '../chart';
import { command, h, newest, reason, status } from '../dom';
import type { Feed } from '../feed';
import { rowName } from '../format';
import { player } from '../player';
import type { ImageRun, ImageShot, TextExample, TextRun, Training } from '../types';
import type { DialSection } from './dial';
import { ImageColumns } from './image';
import { TextColumns } from './text';

const PROBE = 'eval_probe_';

/** The lines of a log. */
export function lossLines(training: Training): Line[] {
  const of = (key: string): [number, number][] => training.log.filter((entry) => entry[key] !== undefined).map((entry) => [entry['step']!, entry[key]!]);
  const steps = training.log.map((entry) => entry['step']!);
  const ends: [number, number] = [Math.min(...steps), Math.max(...steps)];
  const baselines = Object.entries(training.baselines).filter(([name]) => name !== 'model');
  return [
    { name: 'held out', strong: true, points: of('eval_loss') },
    { name: 'training', points: of('loss') },
    ...baselines.map(([name, loss]): Line => ({ name: rowName(name), flat: true, points: ends.map((step) => [step, loss]) })),
  ];
}

/** The scores of a linear probe during a pretraining, one line a measure. */
export function probeLines(training: Training): Line[] {
  const names = new Set(training.log.flatMap((entry) => Object.keys(entry).filter((key) => key.startsWith(PROBE))));
  return [...names].map((name) => ({
    name: `linear probe: ${name.slice(PROBE.length).replaceAll('_', ' ')}`,
    strong: true,
    points: training.log.filter((entry) => entry[name] !== undefined).map((entry) => [entry['step']!, entry[name]!]),
  }));
}

export async function drawTraining(feed: Feed, index: number, run: TextRun | ImageRun, modality: string, live: boolean, dial: DialSection, section: HTMLElement): Promise<void> {
  const chart = new Chart({ label: 'The loss against the step, with the baselines', x: 'step', y: 'loss', xTick: (v) => v.toLocaleString('en'), yTick: (v) => String(Number(v.toPrecision(3))) });
  const probe = new Chart({ label: 'The score of a linear probe against the step', x: 'step', y: 'score', xTick: (v) => v.toLocaleString('en'), yTick: (v) => String(Number(v.toPrecision(3))) });
  const state = h('p', { class: 'explain', role: 'status' });
  const line = status();
  const first = await feed.get<Training>(`run/${index}/training`);
  const columns = modality === 'text' ? new TextColumns(run as TextRun) : new ImageColumns(run as ImageRun);
  const replay = h('div', { class: 'replay' });
  const latest = newest();
  let checkpoints: number[] = [], example = dial.state.example, shots: (TextExample & ImageShot)[] = [];
  const show = (frame: number): void => {
    const step = checkpoints[frame];
    if (step === undefined) return;
    for (const each of [chart, probe]) each.point(step);
    dial.address.keep('checkpoint', frame === checkpoints.length - 1 ? null : String(step));
    void latest(async (isNewest) => {
      try {
        const found = await feed.get<{ examples: (TextExample & ImageShot)[] }>(`run/${index}/replay/${step}`);
        if (!isNewest()) return;
        shots = found.examples;
        line.textContent = `step ${step.toLocaleString('en')}`;
        columns.show(shots[example]!, example);
      } catch (error) {
        if (isNewest()) line.textContent = reason(error);
      }
    });
  };
  const turn = (to: number): void => {
    example = to;
    if (shots.length) columns.show(shots[example]!, example);
  };
  if (columns instanceof ImageColumns) columns.pick = turn;
  dial.listen(() => turn(dial.state.example));
  const play = player('Checkpoint', show, 1200);
  const update = (training: Training): void => {
    chart.draw(lossLines(training));
    const probed = probeLines(training);
    probe.element.hidden = !probed.length;
    probe.draw(probed);
    const last = training.log.at(-1);
    state.textContent = training.running ? `This run is going on: step ${last?.['step'] ?? 0}.` : `This run has ended, at step ${last?.['step'] ?? 0}.`;
    if (training.checkpoints.join() !== checkpoints.join()) {
      checkpoints = training.checkpoints;
      replay.hidden = !checkpoints.length;
      const named = checkpoints.indexOf(Number(dial.address.read('checkpoint')));
      if (checkpoints.length) play.load(checkpoints.length, named < 0 ? checkpoints.length - 1 : named);
    }
  };
  columns.element.classList.add('without-baseline');
  replay.hidden = true;
  replay.append(h('h4', {}, 'The same eight examples, checkpoint by checkpoint'), play.element, line, columns.element);
  section.append(state, chart.element, probe.element, command(first.command), replay);
  update(first);
  if (live) feed.follow<Training>(`run/${index}/log`, update);
}
