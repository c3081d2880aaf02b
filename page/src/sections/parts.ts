// The parts below the dial, each drawn when it comes into view.
import type { Feed } from '../feed';
import type { ImageRun, TextRun } from '../types';
import type { DialSection } from './dial';
import { drawLabels } from './labels';
import { drawMap } from './map';
import { drawPicture, drawSentence } from './own';
import { imageSteps, textSteps } from './steps';
import { drawTraining } from './training';

export interface Part {
  title: string;
  words: string;
  draw(section: HTMLElement): Promise<void>;
}

export function parts(feed: Feed, index: number, run: TextRun | ImageRun, modality: string, live: boolean, dial: DialSection): Part[] {
  const text = modality === 'text';
  const own: Part = {
    title: text ? 'Your own sentence' : 'Your own picture',
    words: text ? 'Type a sentence, then press the words to hide. It stays on this machine.' : 'Draw a picture, or drop one: it is made as small as those the model knows, then corrupted by the dial above.',
    draw: async (section) => (text ? drawSentence(feed, index, run as TextRun, dial, section) : drawPicture(feed, index, run as ImageRun, dial, section)),
  };
  return [
    ...(live ? [own] : []),
    {
      title: 'Step by step',
      words: text ? 'The masks filled in rounds, the surest first; what is filled in helps with the rest.' : 'The model is handed its own answer, again and again. What it was not sure of, it smooths away.',
      draw: async (section) => (text ? textSteps(feed, index, run as TextRun, dial, section) : imageSteps(feed, index, run as ImageRun, dial, section)),
    },
    {
      title: 'The map',
      words: text ? 'The mean embedding of each held-out passage, in the two directions in which they vary most. No label was used.' : 'What the encoder makes of held-out pictures, in the plane. No label was used; the colours come afterwards.',
      draw: async (section) => drawMap(feed, index, run, section),
    },
    { title: 'Fewer labels', words: 'What pretraining is for: how good a task gets with how many labels.', draw: async (section) => drawLabels(feed, index, section) },
    { title: 'Training', words: 'The loss as it went down, beside the baselines; below, the same examples through the checkpoints.', draw: async (section) => drawTraining(feed, index, run, modality, live, dial, section) },
  ];
}
