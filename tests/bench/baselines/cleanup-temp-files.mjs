// What the operator's plan does every night: list with glob, stat each file, unlink the old ones, print each name.
// Usage: node cleanup-temp-files.mjs FOLDER. Uses the plan's own `glob` package where it is installed, else node's.
import fs from 'node:fs';

let glob;
try {
  ({ glob } = await import('glob'));
} catch {
  glob = async (pattern) => {
    const folder = pattern.slice(0, -2);
    return fs.readdirSync(folder).map((name) => `${folder}/${name}`);
  };
}

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
