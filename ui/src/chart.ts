import uPlot from "uplot";

type Column = (number | null)[];
export type Reading = { topic: string; t: number; air?: number | null; product?: number | null; product_lo?: number | null; product_hi?: number | null; probe?: number | null };
type Forecast = { t: number[]; lo: number[]; mid: number[]; hi: number[] };
type Mark = { t: number; label: string; state: string };
type Frame = {
  topic: string; label: string; low_c: number | null; high_c: number | null; limit_c: number | null; unit: "c" | "f"; timezone: string;
  t: number[]; air: Column; product: Column; product_lo: Column; product_hi: Column; probe: Column; forecast: Forecast; marks: Mark[];
};
type Chart = { host: HTMLElement; out: HTMLElement | null; frame: Frame; plot?: uPlot; fit: ResizeObserver };

const KEEP = 1500;
const charts = new Set<Chart>();

/* light-dark() inside a custom property is not resolved by getComputedStyle: read it through a probe's colour */
const probe = Object.assign(document.createElement("i"), { hidden: true });
document.body.append(probe);
const ink = (name: string) => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
const fade = (rgb: string, a: number) => rgb.replace(/^rgb\(([^)]+)\)$/, `rgba($1, ${a})`);
const pad = (n: number, v: number | null = null) => Array<number | null>(n).fill(v);
const filled = (column: Column, n: number) => (column.length === n ? column : pad(n));
const shown = (v: number, f: Frame) => (f.unit === "f" ? (v * 9) / 5 + 32 : v);
const said = (v: number, f: Frame, digits = 1) => `${shown(v, f).toFixed(digits).replace("-", "−")} °${f.unit.toUpperCase()}`;

/** Series: 1 air, 2 product, 3 its upper and 4 lower edge, 5 probe, 6 forecast, 7 its upper and 8 lower edge. */
function columns(f: Frame): uPlot.AlignedData {
  const n = f.t.length, m = f.forecast.t.length;
  const line = f.product.some((v) => v != null) ? f.product : f.air;
  const join = line[n - 1] ?? null;
  const past = (c: Column) => [...filled(c, n), ...pad(m)];
  const next = (c: number[]) => (m && n ? [...pad(n - 1), join, ...c] : pad(n + m));
  return [[...f.t, ...f.forecast.t], past(f.air), past(f.product), past(f.product_hi), past(f.product_lo), past(f.probe), next(f.forecast.mid), next(f.forecast.hi), next(f.forecast.lo)] as uPlot.AlignedData;
}

/** Find the charts inside an element that came in, draw them, and forget those that left. */
export function readCharts(within: Element) {
  for (const chart of charts) if (!chart.host.isConnected) { chart.fit.disconnect(); chart.plot?.destroy(); charts.delete(chart); }
  const figures = [...within.querySelectorAll<HTMLElement>("[data-zone-chart]"), ...(within.matches("[data-zone-chart]") ? [within as HTMLElement] : [])];
  for (const figure of figures) {
    const host = figure.querySelector<HTMLElement>(".chart"), data = figure.querySelector("script");
    if (!host || !data?.textContent || [...charts].some((c) => c.host === host)) continue;
    const fit = new ResizeObserver(() => chart.plot?.setSize(box(host)));
    const chart: Chart = { host, out: figure.querySelector("output"), frame: JSON.parse(data.textContent) as Frame, fit };
    charts.add(chart);
    draw(chart);
  }
}

export const drawAll = () => { for (const chart of charts) draw(chart); };

export function addReading(r: Reading) {
  for (const chart of charts) {
    const f = chart.frame;
    if (r.topic !== f.topic || r.t <= (f.t[f.t.length - 1] ?? 0)) continue;
    f.t.push(r.t);
    for (const name of ["air", "product", "product_lo", "product_hi", "probe"] as const) {
      if (f[name].length || r[name] != null) { if (f[name].length < f.t.length - 1) f[name] = pad(f.t.length - 1); f[name].push(r[name] ?? null); }
    }
    if (f.t.length > KEEP) for (const column of [f.t, f.air, f.product, f.product_lo, f.product_hi, f.probe]) column.shift();
    chart.plot?.setData(columns(f));
  }
}

const box = (host: HTMLElement) => ({ width: Math.max(120, host.clientWidth - 12), height: Math.max(parseInt(getComputedStyle(host).minHeight) || 220, host.clientHeight) });

// Without readings, or with the first one only, the axis shows the hours before, not a day of no date.
const SHOWN_S = 6 * 3600;
const hours = (f: Frame): [number, number] => {
  const t = [...f.t, ...f.forecast.t], end = t[t.length - 1] ?? Date.now() / 1e3;
  return t.length < 2 ? [end - SHOWN_S, end] : [t[0], end];
};

function draw(chart: Chart) {
  const { host, frame: f } = chart, px = devicePixelRatio;
  chart.plot?.destroy();
  const c = { air: ink("ink-3"), main: ink("accent"), crit: ink("crit"), warn: ink("warn-mark"), ok: ink("ok"), off: ink("off"), line: ink("line"), ink2: ink("ink-2"), ink3: ink("ink-3"), surface: ink("surface") };
  const low = f.low_c ?? -1e6, high = f.limit_c ?? f.high_c ?? 1e6;
  const split = (alpha: number) => (u: uPlot) => {        // a line is red where it leaves what is allowed
    const { top, height } = u.bbox, g = u.ctx.createLinearGradient(0, top, 0, top + height);
    const at = (v: number) => Math.min(1, Math.max(0, (u.valToPos(v, "y", true) - top) / height));
    const a = at(high), b = at(low), bad = fade(c.crit, alpha), good = fade(c.main, alpha);
    for (const [p, colour] of [[0, bad], [a, bad], [a, good], [b, good], [b, bad], [1, bad]] as [number, string][]) g.addColorStop(p, colour);
    return g;
  };
  const rule = (u: uPlot, y: number, colour: string, dash: number[], width = 1) => {
    const { left, width: w } = u.bbox;
    u.ctx.strokeStyle = colour; u.ctx.lineWidth = width * px; u.ctx.setLineDash(dash.map((d) => d * px));
    u.ctx.beginPath(); u.ctx.moveTo(left, y); u.ctx.lineTo(left + w, y); u.ctx.stroke();
  };
  const under = (u: uPlot) => {                           // the band, the product's limit, now, and what happened
    const { left, width, top, height } = u.bbox, ctx = u.ctx, y = (v: number) => u.valToPos(v, "y", true);
    ctx.save(); ctx.beginPath(); ctx.rect(left, top, width, height); ctx.clip();
    const y1 = f.high_c == null ? top : y(f.high_c), y2 = f.low_c == null ? top + height : y(f.low_c);
    if (f.high_c != null || f.low_c != null) { ctx.fillStyle = fade(c.ok, 0.09); ctx.fillRect(left, y1, width, y2 - y1); }
    if (f.high_c != null) rule(u, y1, fade(c.ok, 0.55), [4, 4]);
    if (f.low_c != null) rule(u, y2, fade(c.ok, 0.55), [4, 4]);
    if (f.limit_c != null) rule(u, y(f.limit_c), fade(c.crit, 0.9), [], 1.4);
    const upright = (t: number, colour: string, dash: number[]) => {
      const x = u.valToPos(t, "x", true);
      ctx.strokeStyle = colour; ctx.lineWidth = px; ctx.setLineDash(dash.map((d) => d * px)); ctx.beginPath(); ctx.moveTo(x, top); ctx.lineTo(x, top + height); ctx.stroke();
    };
    if (f.forecast.t.length && f.t.length) upright(f.t[f.t.length - 1], fade(c.ink3, 0.5), []);
    ctx.font = `550 ${10 * px}px ${getComputedStyle(document.body).fontFamily}`; ctx.textBaseline = "top"; ctx.textAlign = "left";
    const tint = (state: string) => (state === "crit" ? c.crit : state === "warn" ? c.warn : state === "ok" ? c.ok : c.off);
    for (const mark of f.marks) upright(mark.t, tint(mark.state), [2, 3]);
    ctx.setLineDash([]); ctx.strokeStyle = c.surface; ctx.lineWidth = 4 * px; ctx.lineJoin = "round";
    for (const [i, mark] of f.marks.entries()) {         // labels on top of every line, each with an edge
      const x = u.valToPos(mark.t, "x", true), room = left + width - x > ctx.measureText(mark.label).width + 8 * px;
      ctx.textAlign = room ? "left" : "right";
      const place = [x + (room ? 4 : -4) * px, top + (3 + (i % 3) * 13) * px] as const;
      ctx.strokeText(mark.label, ...place); ctx.fillStyle = tint(mark.state); ctx.fillText(mark.label, ...place);
    }
    ctx.restore();
  };
  const over = (u: uPlot) => {                            // the last value
    const line = f.product.some((v) => v != null) ? f.product : f.air;
    let i = f.t.length - 1; while (i > 0 && line[i] == null) i--;
    const v = line[i]; if (v == null) return;
    const x = u.valToPos(f.t[i], "x", true), y = u.valToPos(v, "y", true);
    u.ctx.save(); u.ctx.fillStyle = v > high || v < low ? c.crit : c.main; u.ctx.strokeStyle = c.surface; u.ctx.lineWidth = 2 * px;
    u.ctx.beginPath(); u.ctx.arc(x, y, 4.5 * px, 0, 7); u.ctx.fill(); u.ctx.stroke(); u.ctx.restore();
  };
  const font = `500 11px ${getComputedStyle(document.body).fontFamily}`;
  const none = { points: { show: false } }, hidden = { stroke: "transparent", ...none };
  const fences = [f.low_c, f.high_c, f.limit_c].filter((v): v is number => v != null);
  const digits = (splits: number[]) => (splits.every((v) => Number.isInteger(shown(v, f))) ? 0 : 1);
  chart.plot = new uPlot({
    ...box(host), padding: [12, 12, 0, 0], legend: { show: false },
    tzDate: (t) => uPlot.tzDate(new Date(t * 1e3), f.timezone),
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    scales: { x: { range: () => hours(f) }, y: { range: (_u, lo, hi) => { const a = Math.min(lo ?? Infinity, ...fences), b = Math.max(hi ?? -Infinity, ...fences), gap = Math.max(0.6, (b - a) * 0.08); return [a - gap, b + gap]; } } },
    axes: [
      { stroke: c.ink3, font, size: 26, space: 56, grid: { show: false }, ticks: { show: false }, values: "{HH}:{mm}" as never },
      { stroke: c.ink3, font, size: 54, space: 34, grid: { stroke: c.line, width: 1 }, ticks: { show: false }, values: (_u, v) => v.map((x) => said(x, f, digits(v))) },
    ],
    series: [
      {},
      { stroke: fade(c.air, 0.8), width: 1.2, dash: [2, 3], ...none },
      { stroke: split(1) as never, width: 2, ...none },
      hidden, hidden,
      { stroke: fade(c.ink2, 0.9), width: 1.1, points: { size: 5, space: 18, fill: c.surface } },
      { stroke: split(1) as never, width: 1.8, dash: [6, 4], ...none },
      hidden, hidden,
    ],
    bands: [{ series: [3, 4], fill: (u) => split(0.16)(u) as never }, { series: [7, 8], fill: (u) => split(0.14)(u) as never }],
    hooks: { drawAxes: [under], draw: [over], setCursor: [(u) => tell(chart, u)] },
  }, columns(f), host);
  chart.fit.disconnect();
  chart.fit.observe(host);
}

function tell(chart: Chart, u: uPlot) {
  const i = u.cursor.idx, f = chart.frame;
  if (!chart.out) return;
  if (i == null) { chart.out.textContent = ""; return; }
  const at = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: f.timezone }).format(u.data[0][i] * 1000);
  const g = (k: number) => u.data[k]?.[i], parts: string[] = [];
  if (g(2) != null) parts.push(`product ${said(g(2)!, f)}${g(3) != null && g(4) != null ? ` ± ${(((g(3)! - g(4)!) / 2) * (f.unit === "f" ? 1.8 : 1)).toFixed(1)}` : ""}`);
  if (g(5) != null) parts.push(`probe ${said(g(5)!, f)}`);
  if (g(1) != null) parts.push(`air ${said(g(1)!, f)}`);
  if (!parts.length && g(6) != null) parts.push(`forecast ${said(g(6)!, f)}`);
  chart.out.textContent = parts.length ? `${at}  ${parts.join(" · ")}` : `${at}  no data`;
}
