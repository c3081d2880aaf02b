// Where the answers come from: a server on this machine, or files that were computed before.

export interface Feed {
  get<T>(path: string): Promise<T>;
  post<T>(path: string, body: unknown): Promise<T>;
  /** Follow a path that changes; returns how to stop, or null where nothing can change. */
  follow<T>(path: string, heard: (value: T) => void): (() => void) | null;
}

async function answer<T>(response: Response): Promise<T> {
  const value = await response.json().catch(() => ({ error: `status ${response.status}` }));
  if (!response.ok) throw new Error((value as { error?: string }).error ?? `status ${response.status}`);
  return value as T;
}

/** A server that computes with the run's own model. */
export class LiveFeed implements Feed {
  private kept = new Map<string, Promise<unknown>>();

  /** Ask, and ask again where the server is still at work: a large corpus takes its time to open. */
  private async ask(path: string, tries = 8): Promise<unknown> {
    const response = await fetch(`api/${path}`);
    return response.status === 503 && tries > 1 ? this.ask(path, tries - 1) : answer(response);
  }

  get<T>(path: string): Promise<T> {
    let found = this.kept.get(path);
    if (!found) {
      found = this.ask(path);
      found.catch(() => this.kept.delete(path));
      if (this.kept.size > 400) this.kept.delete(this.kept.keys().next().value!);
      this.kept.set(path, found);
    }
    return found as Promise<T>;
  }

  async post<T>(path: string, body: unknown): Promise<T> {
    const headers = { 'Content-Type': 'application/json' };
    return answer<T>(await fetch(`api/${path}`, { method: 'POST', headers, body: JSON.stringify(body) }));
  }

  follow<T>(path: string, heard: (value: T) => void): () => void {
    const source = new EventSource(`api/${path}`);
    source.onmessage = (event) => heard(JSON.parse(event.data as string) as T);
    return () => source.close();
  }
}

type Answers = Record<string, unknown>;
declare global {
  interface Window {
    /** Called by the files of an exported page. */
    textdaeData?: (answers: Answers) => void;
    textdaeStatic?: boolean;
  }
}

/** The file of an exported page that holds a path: one for each run, part and noise. */
export const fileOf = (path: string): string => `data/${path.split('/').slice(0, 4).join('-')}.js`;

/** Files that were computed before; scripts, because nothing else can be read from a file. */
export class StaticFeed implements Feed {
  private answers: Answers = {};
  private files = new Map<string, Promise<void>>();

  constructor() {
    window.textdaeData = (answers) => Object.assign(this.answers, answers);
  }

  private load(file: string): Promise<void> {
    let loading = this.files.get(file);
    if (!loading) {
      loading = new Promise((resolve, reject) => {
        const script = document.createElement('script');
        script.src = file;
        script.onload = () => resolve();
        script.onerror = () => reject(new Error('not a part of this exported page'));
        document.head.append(script);
      });
      this.files.set(file, loading);
    }
    return loading;
  }

  async get<T>(path: string): Promise<T> {
    if (!(path in this.answers)) await this.load(fileOf(path));
    if (!(path in this.answers)) throw new Error('not a part of this exported page');
    return this.answers[path] as T;
  }

  async post<T>(): Promise<T> {
    throw new Error('an exported page has no model to ask');
  }

  follow(): null {
    return null;
  }
}
