import { defineConfig, type Plugin } from 'vitest/config';
import { sourcesDigest } from './digest.mjs';

/** Write the digest of the sources beside the built files, so that a test can tell when they are older. */
const stamp: Plugin = {
  name: 'stamp',
  generateBundle() {
    this.emitFile({ type: 'asset', fileName: 'sources.txt', source: sourcesDigest() + '\n' });
  },
};

export default defineConfig({
  plugins: [stamp],
  build: {
    outDir: '../textdae/app/static',
    emptyOutDir: true,
    target: 'es2022',
    cssCodeSplit: false,
    // One classic script: modules cannot be loaded from a file.
    rollupOptions: {
      input: 'src/main.ts',
      output: { format: 'iife', entryFileNames: 'page.js', assetFileNames: 'page[extname]' },
    },
  },
  publicDir: 'public',
  test: { environment: 'jsdom', include: ['tests/**/*.test.ts'] },
});
