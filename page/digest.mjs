// The digest of everything the built files are made of; `tests/test_page_build.py` computes the same.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('.', import.meta.url));

/** SHA-256 over the names and contents of the sources, in the order of their names. */
export function sourcesDigest() {
  const files = ['package-lock.json', 'vite.config.ts'];
  for (const folder of ['src', 'public'])
    for (const entry of readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true }))
      if (entry.isFile()) files.push(relative(ROOT, join(entry.parentPath, entry.name)).split(sep).join('/'));
  const hash = createHash('sha256');
  for (const file of files.sort()) hash.update(file + '\0').update(readFileSync(join(ROOT, file))).update('\0');
  return hash.digest('hex');
}
