// What the operator's plan does every night: list with glob, stat each file, unlink the old ones, print each name.
// Usage: node cleanup-temp-files.mjs FOLDER, with npm's `glob` installed beside it.
import fs from 'node:fs';
import { glob } from 'glob';

const cutoff = Date.now() - 24 * 60 * 60 * 1000;
let cleaned = 0;
for (const file of await glob(`${process.argv[2]}/*`)) {
  const stats = fs.statSync(file);
  if (stats.mtime.getTime() < cutoff) {
    fs.unlinkSync(file);
    cleaned++;
    console.log(`removed ${file}`);
  }
}
console.log(`${cleaned} files removed`);
