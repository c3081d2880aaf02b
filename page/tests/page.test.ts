import { describe, expect, it } from 'vitest';
import { between, ticks } from '../src/chart';
import { fileOf } from '../src/feed';
import { imageFigures, levelText, measure, textFigures } from '../src/format';
import { difference, pack, picture, rgba, unpack } from '../src/pixels';
import { passage } from '../src/sections/passage';
import { lossLines, probeLines } from '../src/sections/training';
import { readKept, readState, withKept, withState } from '../src/state';

describe('the address', () => {
  const state = { kind: 'words', level: 0.15, seed: 3, example: 2 };
  it('holds the state of each run', () => {
    const hash = withState(withState('', 0, state), 1, { ...state, kind: 'gaussian' });
    expect(hash).toBe('#0=words,0.15,3,2&1=gaussian,0.15,3,2');
    expect(readState(hash, 0)).toEqual(state);
    expect(readState(hash, 1)).toEqual({ ...state, kind: 'gaussian' });
  });
  it('keeps what a person brought, and leaves out what is too long or at its start', () => {
    const dialled = withState('', 0, state), hash = withKept(dialled, 0, 'sentence', 'a & b=c#, d');
    expect(readKept(hash, 0, 'sentence')).toBe('a & b=c#, d');
    expect(readKept(hash, 1, 'sentence')).toBeNull();
    expect(readState(hash, 0)).toEqual(state);
    expect(withKept(hash, 0, 'sentence', null)).toBe(dialled);
    expect(withKept(hash, 0, 'sentence', 'a'.repeat(5000))).toBe(dialled);
    expect(withKept('', 0, 'round', null)).toBe('');
  });
  it.each(['', '#0=', '#0=,nan,-1,999999', '#0=%00,1e999,0x10,2.5', '#1=words,0.15'])('leaves out what is wrong in %s', (hash) => {
    const found = readState(hash, 0);
    expect(found.level).toBeUndefined();
    expect(found.seed ?? 0).toBeLessThanOrEqual(99);
    expect(Number.isInteger(found.example ?? 0)).toBe(true);
  });
});

describe('pixels', () => {
  const shape: [number, number, number] = [3, 1, 2];
  it('survive the journey', () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    expect(unpack(pack(bytes))).toEqual(bytes);
  });
  it('are channels after another', () => {
    const two = Uint8Array.from([9, 9, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6]);
    expect([...rgba(picture(two, shape, 1), shape)]).toEqual([1, 3, 5, 255, 2, 4, 6, 255]);
  });
  it('are told apart where they are too dark and too bright', () => {
    const [same, dark, bright] = [[100], [0], [255]].map((value) => [...difference(Uint8Array.from(value), Uint8Array.from([100]), [1, 1, 1])]);
    expect(same).toEqual([38, 38, 38, 255]);
    expect(dark![2]).toBeGreaterThan(dark![0]!);
    expect(bright![0]).toBeGreaterThan(bright![2]!);
  });
});

describe('a chart', () => {
  it('has round ticks within its ends', () => {
    expect(ticks(0, 1, 5)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(ticks(3.1, 9.7, 5)).toEqual([4, 6, 8]);
    expect(ticks(2, 2, 5).length).toBeGreaterThan(0);
  });
  it('interpolates, in the logarithm where it is told to, and not beyond its ends', () => {
    expect(between([[0, 0], [10, 1]], 5)).toBe(0.5);
    expect(between([[1, 0], [100, 1]], 10, true)).toBeCloseTo(0.5);
    expect(between([[0, 0], [10, 1]], 11)).toBeNull();
  });
  it('draws the log of a run beside its baselines', () => {
    const lines = lossLines({ log: [{ step: 1, loss: 3 }, { step: 2, eval_loss: 2 }], baselines: { model: 1, 'baseline: unigram': 5 }, checkpoints: [], running: false, command: '' });
    expect(lines.map((line) => [line.name, line.points])).toEqual([['held out', [[2, 2]]], ['training', [[1, 3]]], ['unigram', [[1, 5], [2, 5]]]]);
  });
  it('draws the scores of a probe, where there are some', () => {
    const log: Record<string, number>[] = [{ step: 1, loss: 3 }, { step: 2, eval_loss: 2, eval_probe_macro_f1: 0.4 }, { step: 3, eval_probe_macro_f1: 0.5 }];
    const run = { log, baselines: {}, checkpoints: [], running: false, command: '' };
    expect(probeLines(run).map((line) => [line.name, line.points])).toEqual([['linear probe: macro f1', [[2, 0.4], [3, 0.5]]]]);
    expect(probeLines({ ...run, log: [{ step: 1, loss: 3 }] })).toEqual([]);
  });
});

describe('figures', () => {
  it('are those of the command line', () => {
    expect([measure('accuracy', 0.19497), measure('bits_per_byte', 1.93777), measure('psnr', 16.8841), measure('ssim', 0.87251)]).toEqual(['19.5%', '1.938', '16.88 dB', '0.873']);
  });
  it('say what there is to say', () => {
    expect(textFigures({ right: 0, scored: 0, bits_per_byte: null })).toBe('nothing is hidden');
    expect(textFigures({ right: 2, scored: 3, bits_per_byte: 1.5 })).toBe('2 of 3 right · 1.50 bits per byte');
    expect(imageFigures({ psnr: 12.34 })).toBe('12.3 dB');
    expect(levelText('rate', 0.15)).toBe('15%');
  });
});

describe('a passage', () => {
  it('is text, whatever is in it', () => {
    const line = passage({ pieces: ['<b>', ' x', 'y'], words: [0, 1, 1] }, new Map([[1, { text: '<img src=x onerror=alert(1)>', mark: 'wrong' }]]));
    expect(line.querySelector('img, b')).toBeNull();
    expect(line.textContent).toContain('<b>');
  });
});

it('asks the file of an exported page that holds a path', () => {
  expect(fileOf('run/0/shot/words/0.15/0/3')).toBe('data/run-0-shot-words.js');
  expect(fileOf('about')).toBe('data/about.js');
});
