// Build the browser assets into the webkit room: one JS bundle, one CSS bundle, one font, the API page's
// viewer, and the offline base map (projected once here, so the browser carries no map library).
// Names carry their content's hash, so they may be cached for ever; manifest.json maps the plain names.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, extname } from "node:path";
import { geoAlbersUsa, geoPath } from "d3-geo";
import { build } from "esbuild";
import { feature, mesh } from "topojson-client";
import { filter, filterAttachedWeight, presimplify, quantile, simplify } from "topojson-simplify";

const out = "../src/coldgrid/webkit/static";
const require = createRequire(import.meta.url);
mkdirSync(out, { recursive: true });

const result = await build({
  entryPoints: { app: "src/app.ts", style: "src/style.css" },
  outdir: out,
  bundle: true,
  minify: true,
  target: ["es2022", "chrome123", "firefox121", "safari17.5"],
  entryNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  loader: { ".woff2": "file" },
  legalComments: "linked",
  metafile: true,
});
const manifest = {};
const written = new Set(["basemap.json", "manifest.json"]);
for (const [file, meta] of Object.entries(result.metafile.outputs)) {
  written.add(basename(file));
  if (meta.entryPoint) manifest[meta.entryPoint] = basename(file);
}

// The API page shows the OpenAPI document offline, with the viewer copied as it is.
for (const name of ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js"]) {
  const bytes = readFileSync(require.resolve(`swagger-ui-dist/${name}`));
  const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 8).toUpperCase();
  const ext = extname(name);
  const hashed = `${basename(name, ext)}-${hash}${ext}`;
  writeFileSync(`${out}/${hashed}`, bytes);
  written.add(hashed);
  manifest[name] = hashed;
}

let topo = presimplify(JSON.parse(readFileSync(require.resolve("us-atlas/states-10m.json"))));
topo = simplify(topo, quantile(topo, 0.12));
topo = filter(topo, filterAttachedWeight(topo, 0.02));
const skip = new Set(["02", "15", "60", "66", "69", "72", "78"]); // contiguous states only
const geoms = topo.objects.states.geometries.filter((g) => !skip.has(g.id));
const lower = { type: "GeometryCollection", geometries: geoms };
const W = 720;
const H = 436;
const projection = geoAlbersUsa().fitExtent(
  [
    [8, 8],
    [W - 26, H - 8],
  ],
  feature(topo, lower),
);
const path = geoPath(projection).digits(1);
const basemap = {
  width: W,
  height: H,
  scale: projection.scale(),
  translate: projection.translate(),
  land: path(mesh(topo, lower, (a, b) => a === b)),
  fill: path(feature(topo, lower)),
  borders: path(mesh(topo, lower, (a, b) => a !== b)),
};
writeFileSync(`${out}/basemap.json`, JSON.stringify(basemap));
writeFileSync(`${out}/manifest.json`, JSON.stringify(manifest, null, 1));
for (const name of readdirSync(out)) if (!written.has(name)) rmSync(`${out}/${name}`, { recursive: true });
