// The page's own script: draws the plots, and keeps one selection for all of them in the address.
"use strict";
(() => {
const D = JSON.parse(document.getElementById("data").textContent);
const $ = (query, from = document) => from.querySelector(query);
const $$ = (query, from = document) => [...from.querySelectorAll(query)];
const make = (name, props = {}, ...inside) => {
  const found = Object.assign(document.createElement(name), props);
  found.append(...inside);
  return found;
};
const MANY = D.many; // trials from which plots are drawn on a canvas
const LINES = 400; // lines of the parallel coordinates at most

// -- searches -------------------------------------------------------------------------------------
D.searches.forEach((s, number) => {
  s.names = s.choices.map(c => c.name);
  s.parentOf = s.choices.map(c => {
    if (!c.when) return null;
    const at = s.names.indexOf(c.when[0]);
    return [at, new Set(c.when[1].map(o => s.choices[at].options.indexOf(o)))];
  });
  s.rows = s.archs.map((text, i) => ({
    search: number, i, trial: s.trial[i], leaf: s.leaf[i], arch: text.split("-").map(Number),
    score: s.value[i] === null ? null : s.value[i] * s.score.factor,
    m: Object.fromEntries(Object.entries(s.measured).map(([name, values]) => [name, values[i]])),
  }));
  s.checkRows = s.checks.map(c => ({...c, search: number, trial: null, m: c.measured}));
  const trialOf = new Map(s.rows.map(row => [row.arch.join("-"), row.trial]));
  s.checkRows.forEach(row => { row.trial = trialOf.get(row.arch.join("-")) ?? null; });
  s.byTrial = new Map(s.rows.map(row => [row.trial, row]));
  s.on = new Set(s.front);
});
const active = (s, arch, i) => {
  const parent = s.parentOf[i];
  return !parent || (active(s, arch, parent[0]) && parent[1].has(arch[parent[0]]));
};
const words = (s, arch) => s.choices.map((c, i) => active(s, arch, i) ? `${c.name}=${c.options[arch[i]]}` : "")
  .filter(Boolean).join(", ");
const under = (s, leaf, node) => {
  for (let at = leaf; at !== null && at >= 0; at = s.parents[at]) if (at === node) return true;
  return false;
};
const number = (value, digits = 4) => value === null || value === undefined ? "–"
  : Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(digits));

// -- the selection --------------------------------------------------------------------------------
const none = () => ({search: 0, node: null, options: {}, trial: null, ranges: {}});
let state = none();
function read() {
  const given = new URLSearchParams(location.hash.slice(1)), found = none();
  const at = Number(given.get("search") ?? 0);
  if (D.searches[at]) found.search = at;
  const s = D.searches[found.search];
  if (!s) return found;
  const node = Number(given.get("node") ?? NaN);
  if (s.parents[node] !== undefined) found.node = node;
  const trial = Number(given.get("trial") ?? NaN);
  if (s.byTrial.has(trial)) found.trial = trial;
  for (const text of given.getAll("option")) {
    let choice, option;
    try { [choice, option] = JSON.parse(text); } catch { continue; }
    const i = s.names.indexOf(choice), k = i < 0 ? -1 : s.choices[i].options.indexOf(option);
    if (k >= 0) (found.options[i] ??= []).push(k);
  }
  for (const text of given.getAll("range")) {
    const [name, low, high] = text.split("~");
    if (Number.isFinite(+low) && Number.isFinite(+high) && (name === "score" || s.costs[name]))
      found.ranges[name] = [+low, +high];
  }
  return found;
}
function written() {
  const s = D.searches[state.search], out = new URLSearchParams();
  if (state.search) out.set("search", state.search);
  if (state.node !== null) out.set("node", state.node);
  for (const [i, options] of Object.entries(state.options))
    for (const k of options) out.append("option", JSON.stringify([s.names[i], s.choices[i].options[k]]));
  if (state.trial !== null) out.set("trial", state.trial);
  for (const [name, [low, high]] of Object.entries(state.ranges)) out.append("range", `${name}~${low}~${high}`);
  return String(out);
}
const filtered = () => state.node !== null || state.trial !== null ||
  Object.keys(state.options).length > 0 || Object.keys(state.ranges).length > 0;
const shownValue = (row, name) => name === "score" ? row.score ?? null
  : row.m[name] === undefined || row.m[name] === null ? null
  : row.m[name] * D.searches[row.search].costs[name].factor;
function matches(row) {
  if (!filtered()) return true;
  if (row.search !== state.search) return false;
  const s = D.searches[row.search];
  if (state.trial !== null && row.trial !== state.trial) return false;
  if (state.node !== null && !under(s, row.leaf, state.node)) return false;
  for (const [i, options] of Object.entries(state.options))
    if (!active(s, row.arch, +i) || !options.includes(row.arch[i])) return false;
  for (const [name, [low, high]] of Object.entries(state.ranges)) {
    const value = name === "score" && row.x !== undefined && row.part ? row.x * s.score.factor : shownValue(row, name);
    if (value === null || value < low || value > high) return false;
  }
  return true;
}
function select(change) {
  state = {...state, ...change};
  const hash = written(), url = location.pathname + location.search + (hash ? `#${hash}` : "");
  try { history.replaceState(null, "", url); } catch { location.hash = hash; }
  refresh();
}
const toggleOption = (i, k) => {
  const before = state.options[i] ?? [], options = {...state.options};
  const after = before.includes(k) ? before.filter(o => o !== k) : [...before, k];
  if (after.length) options[i] = after; else delete options[i];
  select({options});
};
const current = () => D.searches[state.search];

// -- data of the plots ----------------------------------------------------------------------------
const ALL = D.searches.flatMap(s => s.rows), all = () => ALL;
let kept = [null, []]; // the state, and what it selects
const chosen = () => {
  if (kept[0] !== state) kept = [state, ALL.filter(matches)];
  return kept[1];
};
const labelled = row => ({trial: row.trial, search: D.searches[row.search].name, number: row.search});
const scored = row => row.score !== null && Number.isFinite(row.score);
function points(rows, cost) {
  return rows.filter(row => scored(row) && shownValue(row, cost) !== null)
    .map(row => ({x: shownValue(row, cost), y: row.score, ...labelled(row)}));
}
// Points that no other beats: cheaper and at least as good. In order of cost.
function skyline(rows, lower) {
  const turn = lower ? -1 : 1, found = [];
  for (const row of rows.sort((a, b) => a.x - b.x || turn * (b.y - a.y)))
    if (!found.length || turn * (row.y - found[found.length - 1].y) > 0) found.push(row);
  return found;
}
function marks(cost) {
  const found = [];
  D.searches.forEach((s, number) => {
    const add = (kind, row, y) => {
      const value = row.measured[cost];
      if (value !== undefined && matches({...row, search: number, m: row.measured, trial: row.trial ?? null, leaf: row.leaf ?? -1}))
        found.push({kind, x: value * s.costs[cost].factor, y, trial: row.trial ?? null,
                    number, arch: row.arch});
    };
    const scale = s.score.factor, best = s.byTrial.get(s.best);
    if (!s.costs[cost]) return;
    s.checkRows.forEach(row => add("trained alone (val)", row, row.y * scale));
    s.retrained.forEach(net => {
      const row = s.rows.find(r => r.arch.join("-") === net.arch.join("-"));
      add("retrained (test)", {...net, trial: row?.trial, leaf: row?.leaf, score: row?.score}, net.y * scale);
    });
    if (best && best.m[cost] !== undefined && scored(best)) add("best", {...best, measured: best.m}, best.score);
  });
  return found;
}
function bestSoFar() {
  const groups = new Map(), lines = [], band = [];
  D.searches.forEach(s => {
    let best = null;
    const line = [];
    s.rows.forEach(row => {
      if (scored(row) && (best === null || (s.lower ? row.score < best : row.score > best))) best = row.score;
      if (best !== null) line.push({trial: row.trial, y: best, search: s.name});
    });
    s.line = line;
    if (s.group === null) { lines.push(...thin(s.line)); return; }
    if (!groups.has(s.group)) groups.set(s.group, []);
    groups.get(s.group).push(s);
  });
  for (const [search, searches] of groups) {
    const length = Math.min(...searches.map(s => s.line.length));
    for (let t = 0; t < length; t++) {
      const values = searches.map(s => s.line[t].y), trial = searches[0].line[t].trial;
      band.push({trial, low: Math.min(...values), high: Math.max(...values), search});
      lines.push({trial, y: values.reduce((a, b) => a + b) / values.length, search});
    }
  }
  return {best: lines, band};
}
const thin = line => line.filter((row, i) => i === 0 || i === line.length - 1 || row.y !== line[i - 1].y);
function optionRows(rows, s, most) {
  const sums = new Map();
  for (const row of rows) {
    if (!scored(row)) continue;
    row.arch.forEach((option, i) => {
      if (!active(s, row.arch, i)) return;
      const key = i * 10000 + option, sum = sums.get(key) ?? [0, 0, 0];
      sum[0] += 1; sum[1] += row.score; sum[2] += row.score ** 2;
      sums.set(key, sum);
    });
  }
  const found = [];
  let order = 0;
  s.order.slice(0, most).forEach((i, rank) => s.choices[i].options.forEach((option, k) => {
    const sum = sums.get(i * 10000 + k);
    if (!sum) return;
    const [n, total, squares] = sum, mean = total / n;
    const half = n > 1 ? quantile(n - 1) * Math.sqrt(Math.max(0, squares / n - mean ** 2) * n / (n - 1) / n) : 0;
    found.push({label: `${s.names[i]}: ${option}`, mean, low: mean - half, high: mean + half, trials: n,
                group: String(rank % 2), order: order++, choice: i, option: k});
  }));
  return found;
}
// Student's t at 97.5 percent, by Hill's expansion; within 1 percent from two degrees of freedom on.
function quantile(df) {
  const z = 1.959964, g = [(z ** 3 + z) / 4, (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96,
                           (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384];
  return df === 1 ? 12.706 : df === 2 ? 4.303 : z + g[0] / df + g[1] / df ** 2 + g[2] / df ** 3;
}
function axes(s) {
  const found = s.order.slice(0, D.axes).map(i => ({key: `choice ${i}`, label: s.names[i], choice: i}));
  for (const name of [...Object.keys(s.costs), "score"]) {
    const values = s.rows.map(row => shownValue(row, name)).filter(v => v !== null && Number.isFinite(v));
    if (!values.length) continue;
    const near = name === "score" ? ends(values) : null;
    const low = near?.from ?? values.reduce((a, b) => Math.min(a, b));
    const high = near?.to ?? values.reduce((a, b) => Math.max(a, b));
    found.push({key: name, label: name === "score" ? "score" : name, cost: name, low, high: high > low ? high : low + 1});
  }
  return found;
}
const place = (axis, s, row) => {
  if (axis.choice !== undefined) {
    const n = s.choices[axis.choice].options.length;
    return active(s, row.arch, axis.choice) ? (n > 1 ? row.arch[axis.choice] / (n - 1) : 0.5) : null;
  }
  const value = shownValue(row, axis.cost);
  return value === null ? null : Math.min(1, Math.max(0, (value - axis.low) / (axis.high - axis.low)));
};
function evenly(rows, most) {
  if (rows.length <= most) return rows;
  return Array.from({length: most}, (_, i) => rows[Math.round(i * (rows.length - 1) / (most - 1))]);
}
function lines(rows, s) {
  const found = [], used = axes(s);
  for (const row of evenly(rows.filter(scored), LINES))
    for (const axis of used) {
      const at = place(axis, s, row);
      if (at !== null) found.push({axis: axis.label, at, trial: row.trial, score: row.score, number: row.search});
    }
  return found;
}
function ticks(s) {
  return axes(s).flatMap(axis => axis.choice === undefined
    ? [0, 0.5, 1].map(at => ({axis: axis.label, at, label: number(axis.low + at * (axis.high - axis.low), 3)}))
    : s.choices[axis.choice].options.map((label, i, list) =>
        ({axis: axis.label, at: list.length > 1 ? i / (list.length - 1) : 0.5,
          label: label.length > 14 ? `${label.slice(0, 13)}…` : label})));
}
const mine = () => current().rows;
let most = 8; // choices whose options are drawn
const FEEDS = {
  scatter: cost => ({
    trials: () => points(evenly(all(), MANY), cost), chosen: () => points(chosen(), cost),
    front: () => D.searches.flatMap(s => skyline(points(s.rows, cost), s.lower)),
    budgets: () => D.searches.flatMap(s => s.budgets).filter(b => b.cost === cost)
      .map(b => ({x: b.at, words: b.words})),
    marks: () => marks(cost),
  }),
  trust: () => {
    const rows = some => some.filter(c => c.x !== null).map(c =>
      ({x: c.x * current().score.factor, y: c.y * current().score.factor, part: c.part, arch: c.arch, ...labelled(c)}));
    return {trials: () => rows(current().checkRows), chosen: () => rows(current().checkRows.filter(matches))};
  },
  progress: () => {
    const rows = some => some.filter(scored).map(row => ({trial: row.trial, y: row.score, number: row.search}));
    return {trials: () => rows(evenly(all(), MANY)), chosen: () => rows(chosen()), best: () => bestSoFar().best, band: () => bestSoFar().band};
  },
  options: () => ({
    options: () => optionRows(mine(), current(), most),
    picked: () => filtered() ? optionRows(mine().filter(matches), current(), most) : [],
  }),
  importance: () => ({importance: () => Object.entries(current().importance).sort((a, b) => b[1] - a[1]).slice(0, 16)
    .map(([choice, value], order) => ({choice, value, order}))}),
  parallel: () => ({
    trials: () => lines(mine(), current()), chosen: () => lines(mine().filter(matches), current()),
    ticks: () => ticks(current()),
  }),
  plane: () => ({bars: () => (current().bars[state.node ?? 0] ?? []).map(([choice, option, value], order) =>
    ({name: `${choice}: ${option}`, value, said: number(value, 3), order})).slice(0, 24)}),
  fixed: which => Object.fromEntries(Object.entries(D.fixed[which]).map(([name, rows]) => [name, () => rows])),
};
const STILL = {scatter: ["trials", "front", "budgets"], progress: ["trials", "best", "band"], options: [],
               importance: [], parallel: [], trust: [], plane: [], fixed: null};

// -- drawing --------------------------------------------------------------------------------------
const dark = () => (document.documentElement.dataset.theme ||
  (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
function themed(text) {
  for (const [name, colour] of Object.entries(D.themes[dark() ? "dark" : "light"])) text = text.replaceAll(name, colour);
  return JSON.parse(text);
}
const views = {};
const texts = D.specs.map(spec => JSON.stringify(spec));
const tip = make("div", {className: "tip", hidden: true});
document.body.append(tip);
function tooltip(_, event, item, value) {
  tip.hidden = value === null || value === undefined || value === "";
  if (tip.hidden) return;
  const {trial, number, arch} = item?.datum ?? {}, s = D.searches[number];
  const of = arch ?? s?.byTrial.get(trial)?.arch, more = s && of ? {architecture: words(s, of)} : {};
  tip.replaceChildren(...Object.entries(typeof value === "object" ? {...value, ...more} : {"": value})
    .filter(([, said]) => said !== null && said !== undefined && said !== "null")
    .map(([name, said]) => make("div", {}, make("b", {textContent: name ? `${name}: ` : ""}), String(said))));
  const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const y = event.clientY + 14 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 14;
  tip.style.left = `${Math.max(4, x)}px`;
  tip.style.top = `${Math.max(4, y)}px`;
}
function feeds(figure) {
  const [kind, argument] = figure.dataset.plot.split("/");
  return [kind, FEEDS[kind](argument)];
}
// Where a few values lie far off, the scale ends before them: they are drawn at its end, and it is said.
function ends(values, others = []) {
  const all = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (all.length < 8) return null;
  const at = share => all[Math.round(share * (all.length - 1))];
  const [low, high] = [all[0], all[all.length - 1]], span = at(0.9) - at(0.1) || (high - low) / 20;
  const from = Math.min(Math.max(low, at(0.1) - 0.75 * span), ...others);
  const to = Math.max(Math.min(high, at(0.9) + 0.75 * span), ...others);
  return {from, to, out: all.filter(value => value < from || value > to).length};
}
const ROWS = {options: "options", importance: "importance"}, NAMES = {options: "label", importance: "choice"};
function fitted(figure, kind, spec, feed) {
  const note = $(".note", figure), rows = feed[ROWS[kind] ?? "bars"]?.() ?? feed.cells?.();
  for (const [axis, key] of [["y", ROWS[kind] || !feed.cells ? NAMES[kind] ?? "name" : "target"], ["x", "answer"]]) {
    const band = spec.scales.find(each => each.name === axis && each.type === "band");
    if (band && rows?.length && rows[0][key] !== undefined) {
      const sorted = axis === "x" ? [...rows].sort((a, b) => a.at - b.at) : rows;
      band.domain = [...new Set(sorted.map(row => row[key]))];
    }
  }
  const bars = spec.scales.find(each => each.name === "x" && each.type === "linear");
  if (kind === "fixed" && rows?.[0]?.said !== undefined) { // room for what stands behind a bar
    Object.assign(bars, {domain: [0, 1.12 * Math.max(...rows.map(row => row.value))], padding: 0, nice: false});
    delete bars.domainMin;
  }
  let found = null, name = "y";
  if (kind === "scatter" || kind === "progress")
    found = ends(feed.trials().map(row => row.y), (feed.marks?.() ?? []).map(row => row.y));
  if (kind === "options") {
    const means = feed.options().map(row => row.mean), low = Math.min(...means), high = Math.max(...means);
    found = ends(means) ?? {from: low, to: high, out: 0};
    const pad = 0.15 * (found.to - found.from || 1);
    found = {...found, from: found.from - pad, to: found.to + pad};
    name = "x";
  }
  if (kind === "parallel") { found = ends(feed.trials().map(row => row.score)); name = "color"; }
  const scale = spec.scales.find(each => each.name === name);
  if (!found || !scale) return;
  Object.assign(scale, {domain: [found.from, found.to], clamp: true, zero: false, nice: name === "y"});
  delete scale.domainRaw;
  note.textContent = found.out && name !== "color" ? `${found.out} far off ${found.out > 1 ? "are" : "is"} drawn at the end of the scale.` : "";
}
async function draw(figure) {
  const id = figure.dataset.plot, [, feed] = feeds(figure);
  views[id]?.view.finalize();
  const spec = themed(texts[+figure.dataset.spec]), at = $(".view", figure);
  for (const [name, rows] of Object.entries(feed)) {
    const set = spec.data.find(d => d.name === name);
    if (set) set.values = rows(); else spec.data.unshift({name, values: rows()});
  }
  if (figure.clientWidth < 560) { // legends below each other
    spec.legends?.forEach(legend => { if (legend.columns || legend.orient === "top") legend.columns = 2; });
    spec.config.legend = {...spec.config.legend, layout: {top: {direction: "vertical", anchor: "start"}}};
  }
  at.replaceChildren();
  fitted(figure, id.split("/")[0], spec, feed);
  const view = new vega.View(vega.parse(spec, null, {ast: true}), {
    expr: vegaInterpreter, container: at, hover: false, tooltip,
    renderer: all().length > MANY ? "canvas" : "svg", logLevel: vega.Error,
  });
  views[id] = {view, feed, figure, stale: false};
  view.addEventListener("click", (event, item) => picked(item?.datum, figure));
  await view.runAsync();
  if (figure.dataset.brush) brush(figure, view);
}
function picked(datum, figure) {
  if (moved || !datum) return;
  if (datum.choice !== undefined && datum.option !== undefined) toggleOption(datum.choice, datum.option);
  else if (datum.trial !== undefined && datum.trial !== null && figure.dataset.plot !== "progress" || datum.trial >= 0) {
    const at = datum.number ?? state.search;
    if (at !== state.search) state = {...none(), search: at};
    select({trial: state.trial === datum.trial ? null : datum.trial});
  }
}
async function feedAgain(entry) {
  const [kind] = feeds(entry.figure), still = STILL[kind];
  entry.stale = false;
  if (still === null) return;
  if (kind === "plane" || kind === "importance") { await draw(entry.figure); return; } // other rows
  for (const [name, rows] of Object.entries(entry.feed)) {
    if (still.includes(name)) continue;
    entry.view.change(name, vega.changeset().remove(() => true).insert(rows()));
  }
  await entry.view.runAsync();
}
const seen = new IntersectionObserver(entries => entries.forEach(entry => {
  const figure = entry.target, known = views[figure.dataset.plot];
  figure.dataset.near = entry.isIntersecting ? "1" : "";
  if (!entry.isIntersecting) return;
  if (!known) draw(figure); else if (known.stale) feedAgain(known);
}), {rootMargin: "400px"});

// -- brushes --------------------------------------------------------------------------------------
let moved = false;
function brush(figure, view) {
  const at = $(".view", figure), kind = figure.dataset.brush, cost = figure.dataset.plot.split("/")[1];
  const box = make("div", {className: "brush", hidden: true});
  at.append(box);
  let start = null;
  const inside = event => {
    const frame = ($("canvas, svg", at)).getBoundingClientRect(), [left, top] = view.origin();
    return [event.clientX - frame.left - left, event.clientY - frame.top - top];
  };
  at.onpointerdown = event => { start = inside(event); moved = false; };
  at.onpointermove = event => {
    if (!start) return;
    const [x, y] = inside(event), [left, top] = view.origin();
    if (Math.abs(x - start[0]) + Math.abs(y - start[1]) < 6 && !moved) return;
    moved = true;
    box.hidden = false;
    const x0 = kind === "axis" ? start[0] - 9 : Math.min(x, start[0]), x1 = kind === "axis" ? start[0] + 9 : Math.max(x, start[0]);
    Object.assign(box.style, {left: `${left + x0}px`, width: `${x1 - x0}px`,
      top: `${top + Math.min(y, start[1])}px`, height: `${Math.abs(y - start[1])}px`});
  };
  at.onpointerup = event => {
    if (!start) return;
    const from = start, to = inside(event);
    start = null; box.hidden = true;
    if (!moved) return;
    setTimeout(() => { moved = false; }, 0);
    const y = view.scale("y"), [low, high] = [y.invert(from[1]), y.invert(to[1])].sort((a, b) => a - b);
    if (kind === "axis") return brushAxis(view, from[0], low, high);
    const x = view.scale("x"), [left, right] = [x.invert(from[0]), x.invert(to[0])].sort((a, b) => a - b);
    select({ranges: {...state.ranges, [cost]: [+left.toPrecision(6), +right.toPrecision(6)],
                     score: [+low.toPrecision(6), +high.toPrecision(6)]}});
  };
  at.onpointerleave = () => { start = null; box.hidden = true; };
}
function brushAxis(view, x, low, high) {
  const scale = view.scale("x"), s = current();
  const middle = axis => scale(axis.label) + (scale.bandwidth ? scale.bandwidth() / 2 : 0);
  const axis = axes(s).reduce((a, b) => Math.abs(middle(b) - x) < Math.abs(middle(a) - x) ? b : a);
  if (axis.choice === undefined) {
    const value = at => +(axis.low + at * (axis.high - axis.low)).toPrecision(6);
    select({ranges: {...state.ranges, [axis.cost]: [value(low), value(high)]}});
    return;
  }
  const n = s.choices[axis.choice].options.length, options = {...state.options};
  const inside = s.choices[axis.choice].options.map((_, k) => k)
    .filter(k => { const at = n > 1 ? k / (n - 1) : 0.5; return at >= low - 0.03 && at <= high + 0.03; });
  if (inside.length) options[axis.choice] = inside; else delete options[axis.choice];
  select({options});
}

// -- what is no plot ------------------------------------------------------------------------------
let sorted = {by: "score", down: true}, shown = 25;
function table() {
  const s = current(), body = $("#trials tbody"), head = $("#trials thead tr");
  if (!s || !body) return;
  const names = Object.keys(s.measured);
  const columns = [["trial", "trial"], ["score", s.score.title],
    ...names.filter(n => s.costs[n]).map(n => [n, s.costs[n].title]), ["front", "on the front"]];
  head.replaceChildren(...columns.map(([key, title]) => {
    const down = sorted.by === key ? (sorted.down ? " ↓" : " ↑") : "";
    const button = make("button", {type: "button", textContent: title + down});
    button.onclick = () => { sorted = {by: key, down: sorted.by === key ? !sorted.down : true}; table(); };
    const cell = make("th", {scope: "col"}, button);
    cell.setAttribute("aria-sort", sorted.by === key ? (sorted.down ? "descending" : "ascending") : "none");
    return cell;
  }), make("th", {scope: "col", textContent: "architecture"}));
  const rows = chosen().filter(row => row.search === state.search);
  const key = row => sorted.by === "trial" ? row.trial : sorted.by === "front" ? +s.on.has(row.trial) : shownValue(row, sorted.by);
  const turn = (sorted.down ? -1 : 1) * (s.lower && sorted.by === "score" ? -1 : 1);
  rows.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    return x === null || y === null ? (x === null) - (y === null) : turn * (x - y);
  });
  body.replaceChildren(...rows.slice(0, shown).map(row => {
    const button = make("button", {type: "button", textContent: `trial ${row.trial}`});
    button.setAttribute("aria-pressed", state.trial === row.trial);
    button.onclick = () => select({trial: state.trial === row.trial ? null : row.trial});
    const cells = columns.slice(1).map(([name]) => make("td", {className: "n", textContent:
      name === "front" ? (s.on.has(row.trial) ? "yes" : "") : number(shownValue(row, name), 5)}));
    if (row.score === null) cells[0].textContent = s.error[row.trial] ?? "failed";
    return make("tr", {}, make("td", {}, button), ...cells, make("td", {className: "words", textContent: words(s, row.arch)}));
  }));
  $("#more").hidden = rows.length <= shown;
  $("#more").textContent = `show more of ${rows.length} trials`;
}
function chips() {
  const bar = $("#filter"), s = current();
  if (!s || !bar) return;
  const found = [], add = (text, undo) => {
    const button = make("button", {type: "button", className: "chip", textContent: `${text} ×`});
    button.setAttribute("aria-label", `remove the filter ${text}`);
    button.onclick = undo;
    found.push(button);
  };
  if (state.node !== null) add(`node ${state.node}`, () => select({node: null}));
  if (state.trial !== null) add(`trial ${state.trial}`, () => select({trial: null}));
  for (const [i, options] of Object.entries(state.options))
    for (const k of options) add(`${s.names[i]}: ${s.choices[i].options[k]}`, () => toggleOption(+i, k));
  for (const name of Object.keys(state.ranges)) {
    const [low, high] = state.ranges[name];
    add(`${name} ${number(low)} to ${number(high)}`, () => {
      const ranges = {...state.ranges};
      delete ranges[name];
      select({ranges});
    });
  }
  if (found.length > 1) add("all", () => select({...none(), search: state.search}));
  $("#chips").replaceChildren(...found);
  const count = chosen().filter(row => row.search === state.search).length;
  $("#count").textContent = filtered() ? `${count.toLocaleString("en")} of ${mine().length.toLocaleString("en")} trials` :
    `all ${mine().length.toLocaleString("en")} trials: click a point, a node or an option, or drag a range`;
  bar.classList.toggle("on", filtered());
}
function nodes() {
  $$("[data-of-search]").forEach(part => { part.hidden = +part.dataset.ofSearch !== state.search; });
  const counted = new Map(), s = current();
  if (!s) return;
  chosen().forEach(row => {
    if (row.search === state.search) for (let at = row.leaf; at !== null && at !== undefined && at >= 0; at = s.parents[at]) counted.set(at, 1);
  });
  $$("svg.tree .node").forEach(g => {
    g.setAttribute("aria-pressed", +g.dataset.node === state.node);
    g.classList.toggle("off", filtered() && !counted.has(+g.dataset.node));
  });
  const plane = $("#words-node");
  if (plane) plane.replaceChildren(...(s.words[state.node ?? 0] ?? []).map(text => make("li", {textContent: text})));
  const about = $("#about-node");
  if (about) about.textContent = state.node === null ? "the root, all trials" : `node ${state.node}`;
  $$("[data-choice]").forEach(button => button.setAttribute("aria-pressed",
    (state.options[button.dataset.choice] ?? []).includes(+button.dataset.option)));
}
function one() {
  const at = $("#one"), s = current();
  if (!at || !s) return;
  const row = state.trial === null ? null : s.byTrial.get(state.trial);
  at.hidden = !row;
  if (!row) return;
  const list = make("dl", {className: "pairs"});
  const add = (name, said) => list.append(make("dt", {textContent: name}), make("dd", {textContent: said}));
  add(s.score.title, row.score === null ? s.error[row.trial] ?? "failed" : number(row.score, 5));
  for (const [name, cost] of Object.entries(s.costs)) add(cost.title, number(shownValue(row, name), 5));
  s.choices.forEach((c, i) => { if (active(s, row.arch, i)) add(c.name, c.options[row.arch[i]]); });
  at.replaceChildren(make("h3", {textContent: `Trial ${row.trial}`}), list);
}
function refresh() {
  chips(); table(); nodes(); one();
  Object.values(views).forEach(entry => { entry.stale = true; });
  clearTimeout(later);
  later = setTimeout(follow, 0); // what was clicked answers first
}
let later = 0;
async function follow() {
  const now = state, near = Object.values(views).filter(entry => entry.figure.dataset.near);
  for (const entry of near) {
    if (state !== now) return;
    await feedAgain(entry);
    await new Promise(requestAnimationFrame);
  }
}

// -- files ----------------------------------------------------------------------------------------
function save(name, type, text) {
  const link = make("a", {href: URL.createObjectURL(new Blob([text], {type})), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
const cell = value => {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`; // no formula
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const csv = given => {
  const rows = given.map(({number, arch, ...row}) => {
    const s = D.searches[number], of = arch ?? s?.byTrial.get(row.trial)?.arch;
    return s && of ? {...row, architecture: words(s, of)} : row;
  });
  const names = [...new Set(rows.flatMap(Object.keys))].filter(name => !["number", "order", "at"].includes(name));
  return [names, ...rows.map(row => names.map(name => row[name]))].map(row => row.map(cell).join(",")).join("\n") + "\n";
};
function still(svg) {
  const copy = svg.cloneNode(true), from = [svg, ...$$("*", svg)];
  [copy, ...$$("*", copy)].forEach((part, i) => {
    const style = getComputedStyle(from[i]);
    for (const name of ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-size", "font-family", "opacity"])
      part.setAttribute(name, style.getPropertyValue(name));
    ["tabindex", "role", "aria-pressed", "class"].forEach(name => part.removeAttribute(name));
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return new XMLSerializer().serializeToString(copy);
}
async function saved(button) {
  const figure = button.closest("figure"), name = `${D.name}-${figure.id}`, kind = button.dataset.save;
  if (figure.dataset.plot) {
    if (!views[figure.dataset.plot]) await draw(figure);
    const {view, feed} = views[figure.dataset.plot];
    if (kind === "svg") save(`${name}.svg`, "image/svg+xml", await view.toSVG());
    else save(`${name}.csv`, "text/csv", csv((feed.chosen ?? feed[Object.keys(feed)[0]])()));
    return;
  }
  const svg = $$("svg", figure).find(each => each.getClientRects().length);
  if (kind === "svg" && svg) save(`${name}.svg`, "image/svg+xml", still(svg));
  else save(`${name}.csv`, "text/csv", csv(D.drawn[figure.dataset.rows]?.[state.search] ?? []));
}

// -- beginning ------------------------------------------------------------------------------------
document.addEventListener("click", event => {
  const link = event.target.closest("a[data-section]");
  if (link) { // the address is the selection's
    event.preventDefault();
    document.getElementById(link.hash.slice(1)).scrollIntoView();
    return;
  }
  const at = event.target.closest("[data-node], [data-choice], [data-save], [data-trial], [data-copy]");
  if (!at) return;
  if (at.dataset.node !== undefined) select({node: state.node === +at.dataset.node ? null : +at.dataset.node});
  else if (at.dataset.choice !== undefined) toggleOption(+at.dataset.choice, +at.dataset.option);
  else if (at.dataset.save) saved(at);
  else if (at.dataset.copy) navigator.clipboard?.writeText(at.dataset.copy).then(() => { at.textContent = "copied"; });
  else select({...none(), search: +at.dataset.search, trial: +at.dataset.trial});
});
document.addEventListener("keydown", event => {
  const at = event.target.closest?.("g[data-node]");
  if (at && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    select({node: state.node === +at.dataset.node ? null : +at.dataset.node});
  }
  if (event.key === "Escape" && filtered()) select({...none(), search: state.search});
});
$("#more")?.addEventListener("click", () => { shown += 100; table(); });
$("#save-trials")?.addEventListener("click", () => save(`${D.name}-trials.csv`, "text/csv", csv(
  chosen().map(row => ({search: D.searches[row.search].name, number: row.search, trial: row.trial, score: row.score, ...row.m})))));
$("#which")?.addEventListener("change", event => select({...none(), search: +event.target.value}));
$("#all-options")?.addEventListener("click", event => {
  most = most === 8 ? Infinity : 8;
  event.target.textContent = most === 8 ? "show all choices" : "show the 8 most important";
  if (views.options) draw(views.options.figure);
});
$("#range")?.addEventListener("submit", event => {
  event.preventDefault();
  const name = $("#range select").value, [low, high] = $$("#range input").map(input => input.value);
  const values = mine().map(row => shownValue(row, name)).filter(v => v !== null);
  select({ranges: {...state.ranges, [name]: [low === "" ? Math.min(...values) : +low, high === "" ? Math.max(...values) : +high]}});
});
const again = () => $$("figure[data-plot]").forEach(figure => { if (views[figure.dataset.plot]) draw(figure); });
$("#theme")?.addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  again();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => again());
addEventListener("hashchange", () => { state = read(); if ($("#which")) $("#which").value = state.search; refresh(); });
addEventListener("beforeprint", () => $$("figure[data-plot]").forEach(figure => views[figure.dataset.plot] || draw(figure)));
if (D.served) setInterval(async () => {
  const answer = await fetch(location.pathname + location.search, {method: "HEAD", cache: "no-store"}).catch(() => null);
  if (answer?.ok && answer.headers.get("ETag") !== D.served) location.reload();
}, 5000);
state = read();
if ($("#which")) $("#which").value = state.search;
chips(); table(); nodes(); one();
$$("figure[data-plot]").forEach(figure => seen.observe(figure));
window.report = {views, draw, select, get state() { return state; }, chosen};
})();
