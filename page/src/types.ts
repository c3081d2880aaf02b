// What the feed answers: the twin of `textdae/app/feed.py` and of the explorers.

export interface About {
  live: boolean;
  version: string;
  runs: { name: string; modality: string }[];
  target: boolean;
}

export interface Dial {
  kind: string;
  unit: string;
  levels: number[];
  start: number;
  command: string;
  words: string;
}

export interface Passage {
  pieces: string[];
  words: number[];
}

interface RunBase {
  architecture: string;
  parameters: number;
  data: string;
  dials: Dial[];
  rows: [name: string, unit: string, moreIsBetter: boolean][];
  labels_command: string;
  embed_command: string;
  most_seed: number;
  /** Levels that steps were computed for; absent where any can be. */
  steps_levels?: number[];
}
export interface TextRun extends RunBase {
  clean: Passage[];
  /** The source of each passage; empty where the corpus has one only. */
  names: string[];
  mask: string;
}
export interface ImageRun extends RunBase {
  clean: string;
  shape: [number, number, number];
  names: string[];
}

export interface TextFigures {
  right: number;
  scored: number;
  bits_per_byte: number | null;
}
export interface TextExample {
  hidden: number[];
  shown: (string | null)[];
  guesses: [string, number][][];
  right: boolean[];
  figures: TextFigures;
}
export interface TextBaselineExample {
  guesses: string[];
  right: boolean[];
  figures: TextFigures;
}
export interface TextBaseline {
  name: string;
  examples: TextBaselineExample[];
}

export interface ImageFigures {
  psnr: number;
  ssim?: number;
}
export interface Rebuilt {
  rebuilt: string;
  rebuilt_figures: ImageFigures[];
}
/** Of one picture. */
export interface ImageShot extends Rebuilt {
  corrupted: string;
  corrupted_figures: ImageFigures[];
}
export interface ImageBaseline extends Rebuilt {
  name: string;
}

export interface CurvePoint {
  level: number;
  scored: number;
  asked?: string;
  held_out: Record<string, Record<string, number>>;
}

export interface TextSteps {
  hidden: number[];
  rounds: { positions: number[]; tokens: string[]; right: boolean[] }[];
}
export interface ImageSteps {
  frames: string;
  figures: ImageFigures[];
}

export interface MapData {
  kind: 'code' | 'pca';
  width: number;
  variance: [number, number];
  x: number[];
  y: number[];
  texts?: string[];
  labels?: number[];
  classes?: string[];
  pixels?: string;
  grid?: { side: number; low: [number, number]; high: [number, number]; pixels: string };
}

export interface LabelCurve {
  sentence?: string;
  points?: { line: string; labels: number; measure: string; mean: number; low: number; high: number }[];
  command: string;
}

export interface Training {
  log: Record<string, number>[];
  baselines: Record<string, number>;
  checkpoints: number[];
  running: boolean;
  command: string;
}

export interface Target {
  command: string;
  clean: string;
  corrupted: string[];
  shape: [number, number, number];
  sides: Record<'clean' | 'noisy', { rebuilt: string[]; psnr: number }>;
  noisy_psnr: number | null;
}
