"use strict";
// The page: what is chosen, kept in the address; the picture, its legend, and the table.

const $ = (id) => document.getElementById(id);
const VIEWS = { "left, from outside": [-90, 0, "both"], "left, from inside": [90, 0, "L"], "right, from outside": [90, 0, "both"],
  "right, from inside": [-90, 0, "R"], behind: [0, 0, "both"], below: [180, -90, "both"], above: [0, 90, "both"] };
const CALLED = { pial: "folded" };
const ROWS = 300, GAP = 4; // rows of the table at once; mm between hemispheres
const state = { subject: "", map: "", shape: "inflated", side: "both", threshold: 0, high: null, significant: false,
  bin: 0, best: true, voxel: -1, at: null, regions: null };
let data = null, scene = null, body = null, slices = null, dirty = false, seen = false, sorted = { column: "value", down: true }, saving = 0, labels = [];

const chosenMap = () => data.maps.find((m) => m.id === state.map);
const fitOf = (name) => data.fits.find((f) => f.name === name);
/** The fit of a map, or of a map of several the one that predicts best. */
const fitFor = (map) => fitOf(map.fit) ?? fitOf(data.best);

// ---- loading -----------------------------------------------------------------------------------------------

function load(name) {
  return new Promise((resolve, reject) => {
    const script = make("script", { src: `data/${name}.js` });
    script.onload = resolve;
    script.onerror = () => reject(new Error(`data/${name}.js cannot be read. Is the folder whole?`));
    document.head.append(script);
  });
}

async function openSubject(subject) {
  if (!NEUROENC.subjects[subject]) await load(`sub-${subject}`);
  data = NEUROENC.subjects[subject];
  if (NEUROENC.meshed && !NEUROENC.meshes && (data.lies === "surface" || data.lies === "brain")) await load("meshes");
  state.subject = subject;
  data.best = bestPredicted();
  if (!chosenMap()) state.map = `pearson_r:${data.best}`;
  if (!chosenMap()) state.map = data.maps[0].id; // no fit has a score
  if (state.voxel >= data.ids.length) state.voxel = -1;
  if (!shapesOf().includes(state.shape)) state.shape = shapesOf()[0] ?? "";
  fillControls();
  shape();
  if (state.voxel >= 0) ask(state.voxel, false);
  else $("asked").replaceChildren(make("p", { className: "note" }, "Click a voxel, an electrode or a row of the table."));
}

/** The fit whose mean r is highest. */
function bestPredicted() {
  let best = data.fits[0], most = -Infinity;
  for (const fit of data.fits) {
    const known = unpack(fit.arrays.pearson_r).filter(Number.isFinite), mean = known.reduce((a, b) => a + b, 0) / known.length;
    if (mean > most) { most = mean; best = fit; }
  }
  return best.name;
}

/** What neuroids can be shown as: shapes of the surface or points, and slices of the grid they lie in. */
function shapesOf() {
  const drawn = !scene || data.lies === "nowhere" ? [] : data.lies === "surface" ? Object.keys(NEUROENC.meshes.shapes) : ["points"];
  return data.grid ? [...drawn, "slices"] : drawn;
}

// ---- the body that values lie on -----------------------------------------------------------------------------

function joinedMesh(name, apart) {
  const { L, R } = NEUROENC.meshes.shapes[name], flat = name === "flat";
  const parts = [L, R].map((side) => ({ places: Float32Array.from(unpack(side.places)), faces: unpack(side.faces) }));
  parts.forEach(({ places, faces }, k) => {
    const { middle, reach } = extent(places, flat ? faces : null);
    const shift = flat ? [(k ? 1 : -1) * (reach[0] + GAP) - middle[0], -middle[1], 0]
      : apart ? [(k ? 1 : -1) * (reach[0] + GAP) - middle[0], 0, 0] : [0, 0, 0];
    for (let i = 0; i < places.length; i++) places[i] += shift[i % 3];
  });
  const n = parts[0].places.length / 3, places = new Float32Array(parts[0].places.length + parts[1].places.length);
  places.set(parts[0].places);
  places.set(parts[1].places, 3 * n);
  const faces = new Uint32Array(parts[0].faces.length + parts[1].faces.length);
  faces.set(parts[0].faces);
  parts[1].faces.forEach((v, i) => { faces[parts[0].faces.length + i] = v + n; });
  const extra = new Float32Array(places.length / 3);
  extra.set(unpack(NEUROENC.meshes.sulc.L));
  extra.set(unpack(NEUROENC.meshes.sulc.R), n);
  return { places, faces, extra, flat, ranges: { L: [0, parts[0].faces.length], R: [parts[0].faces.length, parts[1].faces.length] } };
}

/** Build what is drawn: a mesh with the neuroid under each vertex, a point for each neuroid with a place, or slices. */
function shape() {
  const nothing = $("nothing"), cut = state.shape === "slices";
  nothing.hidden = shapesOf().length > 0;
  nothing.textContent = scene ? "These neuroids have no place: the table below lists them." : "This browser draws no WebGL2: the table below has all numbers.";
  $("canvas").hidden = cut;
  $("slices").hidden = !cut;
  slices = cut ? new Slices($("slices"), data.grid) : null;
  if (slices) {
    body = null;
    if (state.at) slices.move(slices.toBody(state.at));
    else slices.go(state.voxel >= 0 ? state.voxel : highest());
  } else if (scene && data.lies === "surface") {
    const [l, r] = ["L", "R"].map((side) => unpack(data.surface[side]));
    const under = new Int32Array(l.length + r.length);
    under.set(l);
    under.set(r, l.length);
    body = { ...joinedMesh(state.shape, true), under };
    scene.setBody(body);
  } else if (scene && data.lies !== "nowhere") {
    const all = unpack(data.places), n = all.length / 3;
    const under = Int32Array.from([...Array(n).keys()].filter((i) => [0, 1, 2].every((d) => Number.isFinite(all[3 * i + d]))));
    const places = new Float32Array(3 * under.length);
    under.forEach((neuroid, k) => places.set(all.subarray(3 * neuroid, 3 * neuroid + 3), 3 * k));
    body = { places, faces: null, extra: new Float32Array(under.length).fill(1), under, size: under.length > 2000 ? 6 : under.length > 300 ? 9 : 13 };
    scene.setBody(body, data.lies === "brain" ? joinedMesh("pial", false) : null);
  } else body = null;
  $("stage").classList.toggle("empty", !body && !slices);
  outline();
  show();
  if (slices && state.voxel < 0 && !state.at) ask(slices.chosen(), false);
  if (!seen && body?.faces) lookAtMost();
}

/** Begin where most neuroids are seen: from the left, from behind or from below. */
function lookAtMost() {
  seen = true;
  let most = -1, best = null;
  for (const name of ["left, from outside", "behind", "below"]) {
    const [turn, lift] = VIEWS[name], [, , towards] = axesOf(turn, lift);
    let facing = 0;
    for (let i = 0; i < body.under.length; i++) {
      if (body.under[i] >= 0) facing += +([0, 1, 2].reduce((sum, d) => sum + towards[d] * scene.body.normals[3 * i + d], 0) > 0.3);
    }
    if (facing > most) { most = facing; best = { turn, lift }; }
  }
  Object.assign(scene.view, best);
}

// ---- values ------------------------------------------------------------------------------------------------

/** The time bin of a neuroid: that of the largest r of a fit, or the one that is chosen. */
function binOf(neuroid, of) {
  if (!data.time || !state.best) return state.bin;
  if (!of.bestBin) {
    const bins = data.time.start.length, r = unpack(of.arrays.pearson_r);
    of.bestBin = Int32Array.from({ length: data.ids.length }, (_, i) => {
      let best = 0;
      for (let k = 1; k < bins; k++) if (r[i * bins + k] > r[i * bins + best] || !Number.isFinite(r[i * bins + best])) best = k;
      return best;
    });
  }
  return of.bestBin[neuroid];
}

/** The value of each neuroid as it is coloured: p and q by -log10, NaN where nothing is shown. */
function values(map) {
  const fit = fitFor(map), level = fit.about.fdr_level;
  return Float64Array.from({ length: data.ids.length }, (_, i) => {
    const bin = binOf(i, fit), value = at(map.values, i, bin);
    if (map.kind === "names") return value < 0 || (masked(map) && !(at(fit.arrays.q, i, bin) < level)) ? NaN : value;
    if (masked(map) && !(at(fit.arrays.q, i, bin) < level)) return NaN;
    return map.kind === "chance" ? -Math.log10(value) : value;
  });
}

const masked = (map) => state.significant && map.fit !== "";
const highOf = (map) => (state.high > 0 ? state.high : map.high);

/** Draw the chosen map, its legend and the table. */
function show() {
  const map = chosenMap(), now = values(map), high = highOf(map), names = map.kind === "names";
  const range = names ? [-0.5, map.names.length - 0.5] : map.kind === "signed" ? [-high, high] : [0, high];
  const colours = { shades: shades(map), range, threshold: names ? 0 : state.threshold, names };
  slices?.setValues(now, colours);
  if (body) {
    scene.body.side = data.lies === "surface" ? state.side : undefined;
    scene.setColours(colours);
    scene.setValues(Float32Array.from(body.under, (neuroid) => (neuroid < 0 ? NaN : now[neuroid])));
    if (!body.faces) {
      const fit = fitFor(map);
      scene.setExtra(Float32Array.from(body.under, (i) => (at(fit.arrays.q, i, binOf(i, fit)) < fit.about.fdr_level ? 1.6 : 1)));
    }
  }
  $("map-title").textContent = `${map.label} — ${data.dataset}, subject ${data.subject}`;
  $("about-map").textContent = map.about;
  for (const id of ["canvas", "slices"]) $(id).setAttribute("aria-label", `${map.label} of ${data.ids.length} neuroids, subject ${data.subject}`);
  legend(map, range);
  count(map, now);
  table(map, now);
  settle();
  redraw();
}

function count(map, now) {
  const known = now.filter(Number.isFinite).length, above = now.filter((v) => Math.abs(v) >= state.threshold).length;
  let text = `${known} of ${data.ids.length} neuroids have a value`;
  if (state.threshold > 0 && map.kind !== "names") text += `, ${above} are shown`;
  if (body) {
    const seen = new Set(body.under);
    seen.delete(-1);
    const what = data.lies === "surface" ? `lie under a vertex of ${NEUROENC.meshes.name}` : "have a place";
    text += `; ${seen.size} ${what}`;
  }
  if (slices) {
    const size = data.grid.zooms.map((mm) => Number(mm.toPrecision(3))).join(" × ");
    text += `; ${slices.inside} lie in the grid of ${data.grid.shape.join(" × ")} voxels of ${size} mm`;
    text += `, whose axes are ${data.grid.degrees < 0.1 ? "the body's" : `up to ${data.grid.degrees.toFixed(1)}° from the body's`}. L is the subject's left`;
  } else if (data.lies === "brain") text += "; the brain is fsaverage's, places are taken to be MNI's: some mm apart";
  $("counts").textContent = `${text}.`;
}

// ---- regions -----------------------------------------------------------------------------------------------

function outline() {
  labels = [];
  $("labels").replaceChildren();
  const drawn = data.regions.filter((r) => state.regions.includes(r.name));
  if (slices) slices.masks = drawn.map((region) => unpack(region.inside));
  if (slices) redraw();
  if (!body || !body.faces) return;
  const masks = drawn.map((region) => {
    const inside = unpack(region.inside);
    return Uint8Array.from(body.under, (neuroid) => (neuroid >= 0 ? inside[neuroid] : 0));
  });
  scene.setOutlines(masks);
  const half = body.under.length / 2;
  drawn.forEach((region, k) => {
    for (const [side, from] of [["L", 0], ["R", half]]) {
      const mine = [];
      for (let i = from; i < from + half; i++) if (masks[k][i]) mine.push(i);
      if (!mine.length) continue;
      const span = make("span", {}, region.name);
      $("labels").append(span);
      labels.push({ span, side, vertex: central(mine) });
    }
  });
  redraw();
}

/** Of some vertices the one nearest to their middle. */
function central(vertices) {
  const p = body.places, middle = [0, 1, 2].map((d) => vertices.reduce((sum, i) => sum + p[3 * i + d], 0) / vertices.length);
  const away = (i) => Math.hypot(...middle.map((m, d) => p[3 * i + d] - m));
  return vertices.reduce((best, i) => (away(i) < away(best) ? i : best));
}

// ---- asking ------------------------------------------------------------------------------------------------

/** Ask a neuroid, by its number; `vertex` says where it was clicked. */
function ask(neuroid, write = true, vertex = -1) {
  state.voxel = neuroid;
  const map = chosenMap(), fit = fitFor(map), bin = binOf(neuroid, fit);
  describeNeuroid($("asked"), data, neuroid, { fit: fit.name, bin });
  if (body) {
    scene.chosen = vertex >= 0 ? vertex : body.under.indexOf(neuroid);
  }
  slices?.go(neuroid);
  $("status").textContent = `${data.ids[neuroid]}: r of ${fit.name} ${written(at(fit.arrays.pearson_r, neuroid, bin))}`;
  for (const row of $("table").querySelectorAll("tbody tr")) row.classList.toggle("chosen", row.dataset.neuroid === String(neuroid));
  if (write) settle();
  redraw();
}

/** Ask what lies under a place of the picture. */
function askAt(x, y) {
  const vertex = body ? scene.pick(x, y) : -1;
  if (vertex < 0) return;
  if (body.under[vertex] >= 0) ask(body.under[vertex], true, vertex);
  else $("status").textContent = "No neuroid lies here.";
}

// ---- controls ------------------------------------------------------------------------------------------------

function fillControls() {
  $("subject").value = state.subject;
  const groups = new Map();
  for (const map of data.maps) groups.set(map.group, [...(groups.get(map.group) ?? []), map]);
  $("map").replaceChildren(...[...groups].map(([group, maps]) =>
    make("optgroup", { label: group }, ...maps.map((m) => make("option", { value: m.id }, m.label)))));
  state.regions ??= data.regions.length <= 16 ? data.regions.map((r) => r.name) : [];
  const surface = Boolean(scene) && data.lies === "surface";
  $("regions").hidden = !(surface || state.shape === "slices") || !data.regions.length;
  $("regions").replaceChildren(make("legend", {}, "Regions"), ...data.regions.map((region) => {
    const input = make("input", { type: "checkbox", checked: state.regions.includes(region.name) });
    input.onchange = () => {
      state.regions = data.regions.map((r) => r.name).filter((name) => (name === region.name ? input.checked : state.regions.includes(name)));
      outline();
      settle();
    };
    return make("label", {}, input, region.name);
  }));
  $("shapes").hidden = shapesOf().length < 2;
  $("shapes").replaceChildren(make("legend", {}, "Shown as"), ...shapesOf().map((name) => {
    const input = make("input", { type: "radio", name: "shape", checked: state.shape === name });
    input.onchange = () => {
      if (scene) Object.assign(scene.view, { zoom: 1, right: 0, up: 0 });
      Object.assign(state, { shape: name, at: null });
      shape();
      restoreChosen();
      views();
      $("regions").hidden = !(surface || slices) || !data.regions.length;
    };
    return make("label", {}, input, CALLED[name] ?? name);
  }));
  $("time-controls").hidden = !data.time;
  if (data.time) {
    $("bin").max = data.time.start.length - 1;
    state.bin = Math.min(state.bin, data.time.start.length - 1);
  }
  views();
  syncControls();
}

function restoreChosen() {
  if (state.voxel >= 0 && body) scene.chosen = body.under.indexOf(state.voxel);
}

function views() {
  const turned = Boolean(scene) && state.shape !== "slices" && data.lies !== "nowhere" && !(data.lies === "surface" && state.shape === "flat");
  $("views").hidden = !turned;
  $("views").replaceChildren(make("legend", {}, "View from"), ...Object.entries(VIEWS).map(([name, [turn, lift, side]]) => {
    const button = make("button", { type: "button" }, name);
    button.onclick = () => { Object.assign(scene.view, { turn, lift, right: 0, up: 0 }); state.side = side; if (scene.body) scene.body.side = side; settle(); redraw(); };
    return button;
  }));
}

/** Set the controls to what is chosen. */
function syncControls() {
  const map = chosenMap(), high = highOf(map), fit = fitOf(map.fit);
  $("map").value = state.map;
  $("high").value = Number(high.toPrecision(4));
  for (const part of document.querySelectorAll(".of-numbers")) part.hidden = map.kind === "names";
  Object.assign($("threshold"), { max: high, step: high / 200 });
  $("threshold").value = state.threshold;
  sayThreshold(map);
  $("significant").checked = state.significant;
  $("significant").parentElement.hidden = !fit; // a map of no single fit
  if (fit) $("significant-text").textContent = `only where ${fit.name} is significant (q < ${fit.about.fdr_level})`;
  if (data.time) {
    $("best-bin").checked = state.best;
    Object.assign($("bin"), { disabled: state.best });
    $("bin").value = state.bin;
    $("bin-value").textContent = `${written(data.time.start[state.bin])} to ${written(data.time.stop[state.bin])} s`;
  }
}

function sayThreshold(map) {
  const text = map.kind === "chance" ? `${map.unit} at most ${written(10 ** -state.threshold)}` : `${map.kind === "signed" ? "± " : ""}${written(state.threshold)}`;
  $("threshold-value").textContent = text;
}

/** Show what is chosen, with the controls and the panel. */
function refresh() {
  syncControls();
  show();
  if (state.voxel >= 0) ask(state.voxel);
}

function chooseMap(id) {
  Object.assign(state, { map: id, threshold: 0, high: null });
  refresh();
}

function step(bins) {
  if (!data.time) return;
  Object.assign(state, { best: false, bin: Math.max(0, Math.min(data.time.start.length - 1, state.bin + bins)) });
  refresh();
}

function wire() {
  $("controls").onsubmit = (event) => event.preventDefault();
  $("subject").append(...NEUROENC.names.map((name) => make("option", { value: name }, name)));
  $("subject").onchange = () => { Object.assign(state, { voxel: -1, at: null, regions: null, bin: 0 }); openSubject($("subject").value).catch(fail); };
  $("map").onchange = () => chooseMap($("map").value);
  $("threshold").oninput = () => { state.threshold = Number($("threshold").value); sayThreshold(chosenMap()); show(); };
  $("high").onchange = () => { state.high = Number($("high").value); state.threshold = Math.min(state.threshold, highOf(chosenMap())); refresh(); };
  $("significant").onchange = () => { state.significant = $("significant").checked; show(); };
  $("best-bin").onchange = () => { state.best = $("best-bin").checked; refresh(); };
  $("bin").oninput = () => { state.bin = Number($("bin").value); step(0); };
  $("filter").oninput = () => table(chosenMap(), values(chosenMap()));
  $("find").onchange = () => {
    const text = $("find").value.trim(), number = data.ids.indexOf(text);
    if (number >= 0) ask(number);
    else if (/^\d+$/.test(text) && Number(text) < data.ids.length) ask(Number(text));
    else $("status").textContent = `There is no neuroid ${text}.`;
  };
  window.onresize = redraw;
  window.onhashchange = () => { if (location.hash.slice(1) !== address()) restore().catch(fail); };
  if (scene) wireCanvas($("canvas"));
  wireSlices($("slices"));
}

function wireCanvas(canvas) {
  let from = null, moved = 0;
  canvas.onpointerdown = (event) => { from = [event.clientX, event.clientY]; moved = 0; canvas.setPointerCapture(event.pointerId); };
  canvas.onpointermove = (event) => {
    if (!from || !body) return;
    const [dx, dy] = [event.clientX - from[0], event.clientY - from[1]];
    from = [event.clientX, event.clientY];
    moved += Math.abs(dx) + Math.abs(dy);
    if (event.shiftKey || event.buttons === 2 || scene.body.flat) move(dx, dy);
    else turn(-0.4 * dx, 0.4 * dy);
  };
  canvas.onpointerup = (event) => {
    const box = canvas.getBoundingClientRect();
    if (from && moved < 4) askAt(event.clientX - box.left, event.clientY - box.top);
    from = null;
    settle();
  };
  canvas.oncontextmenu = (event) => event.preventDefault();
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-0.001 * event.deltaY)); }, { passive: false });
  canvas.onkeydown = (event) => {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !body) return;
    if (arrows && (event.shiftKey || scene.body.flat)) move(20 * arrows[0], 20 * arrows[1]);
    else if (arrows) turn(-5 * arrows[0], 5 * arrows[1]);
    else if (event.key === "+" || event.key === "=") zoom(1.15);
    else if (event.key === "-") zoom(1 / 1.15);
    else if (event.key === "0") { Object.assign(scene.view, { turn: -90, lift: 0, zoom: 1, right: 0, up: 0 }); redraw(); }
    else if (event.key === "Enter") askAt(canvas.clientWidth / 2, canvas.clientHeight / 2);
    else if (event.key === "n" || event.key === "p") ask((state.voxel + (event.key === "n" ? 1 : -1) + data.ids.length) % data.ids.length);
    else if (event.key === "," || event.key === ".") step(event.key === "." ? 1 : -1);
    else return;
    event.preventDefault();
    settle();
  };
}

function turn(angle, lift) {
  scene.view.turn = (scene.view.turn + angle + 540) % 360 - 180;
  scene.view.lift = Math.max(-90, Math.min(90, scene.view.lift + lift));
  redraw();
}

function move(dx, dy) {
  const [kx, ky] = scene.scale();
  scene.view.right += 2 * dx / $("canvas").clientWidth / kx;
  scene.view.up -= 2 * dy / $("canvas").clientHeight / ky;
  redraw();
}

function zoom(factor) {
  scene.view.zoom = Math.max(0.2, Math.min(30, scene.view.zoom * factor));
  redraw();
  settle();
}

// ---- drawing -----------------------------------------------------------------------------------

function redraw() {
  if (dirty || !(slices || body)) return;
  dirty = true;
  requestAnimationFrame(() => {
    dirty = false;
    if (slices) slices.draw();
    if (!body) return;
    scene.draw();
    const taken = [];
    for (const { span, side, vertex } of labels) {
      const [x, y, facing] = scene.project(vertex), there = (state.side === "both" || state.side === side) && facing > 0.15;
      // a label that would lie on another is left out
      const free = there && !taken.some(([a, b, w]) => Math.abs(b - y) < 13 && x < a + w && a < x + span.textContent.length * 8);
      if (free) taken.push([x, y, span.textContent.length * 8]);
      span.style.display = free ? "" : "none";
      if (free) span.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px) translate(-50%, -50%)`;
    }
  });
}

function fail(error) {
  $("nothing").hidden = false;
  $("nothing").textContent = error.message;
  throw error;
}

function begin() {
  $("title").textContent = `${NEUROENC.label}: maps`;
  document.title = `${NEUROENC.label}: neuroenc explorer`;
  $("about-run").textContent = `neuroenc ${NEUROENC.version}; ${NEUROENC.names.length} subject${NEUROENC.names.length > 1 ? "s" : ""}`;
  try {
    scene = new Scene($("canvas"));
  } catch (error) {
    scene = null; // the table needs none
  }
  wire();
  restore().catch(fail).finally(() => { document.body.dataset.ready = "yes"; });
}

begin();
