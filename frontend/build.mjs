// Builds static/dist from frontend/src. Same input, same bytes: CI rebuilds and fails on a difference.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "..", "static", "dist");
const modules = join(here, "node_modules");

rmSync(dist, { recursive: true, force: true });
mkdirSync(join(dist, "fonts"), { recursive: true });

// 1. Fonts and their licences.
for (const [pack, file] of [["geist", "geist-latin-wght-normal"], ["geist-mono", "geist-mono-latin-wght-normal"]]) {
  const from = join(modules, "@fontsource-variable", pack);
  copyFileSync(join(from, "files", `${file}.woff2`), join(dist, "fonts", `${file}.woff2`));
  copyFileSync(join(from, "LICENSE"), join(dist, "fonts", `${pack}.LICENSE.txt`));
}

// 2. One icon sprite from the name list.
const names = readFileSync(join(here, "icons.txt"), "utf8").split("\n").filter((n) => n && !n.startsWith("#"));
const symbols = names.map((name) => {
  const svg = readFileSync(join(modules, "lucide-static", "icons", `${name}.svg`), "utf8");
  const body = svg.replace(/<!--[\s\S]*?-->/g, "").replace(/<svg[^>]*>/, "").replace("</svg>", "");
  return `<symbol id="${name}" viewBox="0 0 24 24">${body.replace(/\s*\n\s*/g, "")}</symbol>`;
});
writeFileSync(join(dist, "icons.svg"), `<svg xmlns="http://www.w3.org/2000/svg">\n${symbols.join("\n")}\n</svg>\n`);

// 3. The stylesheet.
execFileSync(
  process.execPath,
  [join(modules, "@tailwindcss", "cli", "dist", "index.mjs"), "-i", join(here, "src", "app.css"), "-o", join(dist, "app.css"), "--minify"],
  { cwd: here, stdio: ["ignore", "ignore", "inherit"] },
);

// 4. Three scripts; none imports another.
await build({
  entryPoints: [join(here, "src", "early.js"), join(here, "src", "app.js"), join(here, "src", "chart.js")],
  outdir: dist,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome123", "firefox120", "safari17.5"],
  legalComments: "eof",
  logLevel: "warning",
});
