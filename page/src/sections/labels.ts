// The label curve, with a cursor "I have N labels".
import { Chart, between, type Line } from '../chart';
import { command, h, unique } from '../dom';
import type { Feed } from '../feed';
import type { LabelCurve } from '../types';

export async function drawLabels(feed: Feed, index: number, section: HTMLElement): Promise<void> {
  const curve = await feed.get<LabelCurve>(`run/${index}/labels`);
  const points = curve.points ?? [];
  if (!points.length) {
    section.append(h('p', { class: 'explain' }, 'No label curve of this run was found. This measures one, and this page then shows it:'), command(curve.command));
    return;
  }
  const names = [...new Set(points.map((point) => point.line))];
  const lines: Line[] = names.map((name) => {
    const own = points.filter((point) => point.line === name).sort((a, b) => a.labels - b.labels);
    return { name, strong: name === 'probe' || name === 'fine-tuned', points: own.map((p) => [p.labels, p.mean]), band: own.map((p) => [p.low, p.high]) };
  });
  const sizes = [...new Set(points.map((point) => point.labels))].sort((a, b) => a - b);
  const measure = points[0]!.measure.replaceAll('_', ' ');
  const chart = new Chart({ label: `${measure} against the number of labels`, x: 'labels', y: measure, logX: true, xTick: (v) => v.toLocaleString('en'), yTick: (v) => String(Number(v.toPrecision(3))) });
  const [low, high] = [Math.log(sizes[0]!), Math.log(sizes.at(-1)!)];
  const range = h('input', { type: 'range', min: 0, max: 100, value: 50, id: unique('labels'), oninput: () => move() });
  const output = h('output', { for: range.id, class: 'level' }), table = h('tbody', {});
  const move = (): void => {
    const labels = Math.round(Math.exp(low + ((high - low) * Number(range.value)) / 100));
    const at = Math.min(sizes.at(-1)!, Math.max(sizes[0]!, labels));
    output.textContent = at.toLocaleString('en');
    range.setAttribute('aria-valuetext', `${at} labels`);
    chart.point(at);
    const rows = lines.map((line) => ({ line, value: between(line.points, at, true) })).filter((row): row is { line: Line; value: number } => row.value !== null);
    table.replaceChildren(...rows.sort((a, b) => b.value - a.value).map(({ line, value }) => h('tr', { class: line.strong ? 'model' : '' }, h('th', { scope: 'row' }, line.name), h('td', {}, value.toFixed(3)))));
  };
  chart.draw(lines);
  section.append(
    curve.sentence ? h('p', { class: 'sentence' }, curve.sentence) : '',
    h('div', { class: 'turn labels' }, h('label', { for: range.id }, 'I have so many labels'), range, output),
    chart.element,
    h('table', {}, h('caption', {}, `${measure}, read from the lines`), table),
    command(curve.command),
  );
  move();
}
