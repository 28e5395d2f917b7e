"use strict";
// What is known of one neuroid: all numbers as the files of scores hold them.

const SVG = "http://www.w3.org/2000/svg";

/** Fill the panel about a neuroid. `state` says fit and time bin. */
function describeNeuroid(panel, data, neuroid, state) {
  const bin = state.bin;
  const regions = data.regions.filter((r) => unpack(r.inside)[neuroid]).map((r) => r.name);
  const list = make("dl");
  const say = (term, ...text) => list.append(make("dt", {}, term), make("dd", {}, ...text));
  say("number", String(neuroid));
  say("hemisphere", data.hemisphere[neuroid] || "–");
  if (data.places) {
    const place = [0, 1, 2].map((d) => unpack(data.places)[3 * neuroid + d]);
    say(data.lies === "brain" ? "place (mm, MNI)" : data.grid ? "place (mm)" : "place (x, y, z)", place.map((v) => (Number.isFinite(v) ? v.toFixed(1) : "–")).join(", "));
  }
  if (data.grid) {
    const voxel = [...unpack(data.grid.voxels).subarray(3 * neuroid, 3 * neuroid + 3)];
    say("voxel (i, j, k)", make("span", { id: "asked-voxel" }, voxel[0] < 0 ? "outside the grid" : voxel.join(", ")));
  }
  say("regions", regions.join(", ") || "none");
  if (data.parcel) say("parcel", data.parcel[neuroid] || "none");
  const share = at(data.fits[0].arrays.ceiling, neuroid, bin);
  say("noise ceiling", make("span", { id: "asked-ceiling", "data-value": String(share), title: String(share) },
    Number.isFinite(share) ? `${written(Math.sqrt(Math.max(share, 0)))} r (${written(share)} of the variance)` : "not known"));
  if (data.time) say("time bin", `${written(data.time.start[bin])} to ${written(data.time.stop[bin])} s`);
  panel.replaceChildren(make("h2", {}, data.ids[neuroid]), list, ...[
    scoresOf(data, neuroid, state), timesOf(data, neuroid, state), comparisonsOf(data, neuroid, bin), layersOf(data, neuroid, bin),
    captionsOf(data, neuroid), preferredOf(data, neuroid, attentionOf(data, neuroid, state.fit)), synthesisOf(data, regions),
  ].flat());
}

function scoresOf(data, neuroid, state) {
  const columns = ["r", "low", "high", "p", "q", "R²", "r / ceiling"];
  const keys = ["pearson_r", "r_low", "r_high", "p", "q", "r2", "normalised_r"];
  const head = make("tr", {}, make("th", { scope: "col" }, "fit"), ...columns.map((c) => make("th", { scope: "col" }, c)));
  const rows = data.fits.map((fit) => make("tr", { className: fit.name === state.fit ? "chosen" : "", "data-fit": fit.name },
    make("td", {}, fit.name),
    ...keys.map((key) => number(fit.arrays[key] ? at(fit.arrays[key], neuroid, state.bin) : NaN, { "data-key": key }))));
  const about = data.fits[0].about;
  return [make("h3", {}, "Accuracy on held-out stimuli"),
    make("table", { id: "scores" }, make("thead", {}, head), make("tbody", {}, ...rows)),
    make("p", { className: "note" }, `${about.n_test_stimuli ?? "–"} test stimuli. low, high: 95 % interval of r (bootstrap). p: permutation; q: false discovery rate.`)];
}

function layersOf(data, neuroid, bin) {
  const found = [];
  for (const fit of data.fits) {
    if (fit.layers.length < 2) continue;
    const values = fit.layers.map((_, k) => atRow(fit.arrays.validation_r2, k, neuroid, bin));
    const most = Math.max(1e-6, ...values.filter(Number.isFinite).map(Math.abs));
    const chosen = at(fit.arrays.chosen_layer, neuroid, bin);
    const rows = fit.layers.map((layer, k) => {
      const bar = make("div", { className: values[k] < 0 ? "below" : "" });
      bar.style.width = `${Number.isFinite(values[k]) ? 100 * Math.abs(values[k]) / most : 0}%`;
      return make("tr", { className: k === chosen ? "chosen" : "", "data-layer": layer },
        make("td", {}, layer + (k === chosen ? " (chosen)" : "")), make("td", { className: "bar" }, bar), number(values[k]));
    });
    found.push(make("h3", {}, `Layers of ${fit.name}, validation R²`),
      make("table", { "data-layers": fit.name }, make("tbody", {}, ...rows)));
  }
  return found;
}

function comparisonsOf(data, neuroid, bin) {
  return data.comparisons.flatMap((c) => {
    const keys = ["difference", "low", "high", "p", "q"];
    const rows = c.rivals.map((rival, k) => make("tr", { "data-rival": rival }, make("td", {}, rival),
      ...keys.map((key) => number(atRow(c.arrays[key], k, neuroid, bin), { "data-key": key }))));
    const head = make("tr", {}, make("th", { scope: "col" }, "rival"), ...["difference", "low", "high", "p", "q"].map((k) => make("th", { scope: "col" }, k)));
    return [make("h3", {}, `${c.label}: ${c.better} less each rival (${c.metric === "r2" ? "R²" : "r"})`),
      make("table", { "data-comparison": c.label }, make("thead", {}, head), make("tbody", {}, ...rows)),
      make("p", { className: "note" }, "p: one-sided, that the first is no better.")];
  });
}

function captionsOf(data, neuroid) {
  const c = data.captions;
  if (!c) return [];
  const list = make("dl");
  const say = (term, column) => {
    const value = c[column]?.[neuroid];
    if (value !== undefined && value !== null && value !== "") {
      list.append(make("dt", {}, term), make("dd", { "data-column": column }, typeof value === "number" ? written(value) : String(value)));
    }
  };
  say("caption", "caption");
  say("written", "generated");
  say("words", "words");
  list.append(make("dt", {}, "confident"), make("dd", {}, c.confident[neuroid] ? "yes" : "no: read nothing into it"));
  say("Spearman", "spearman");
  say("of another voxel's", "spearman_null");
  say("of the written one", "spearman_generated");
  return [make("h3", {}, "What the voxel wants, in words"), list,
    make("p", { className: "note" }, "Spearman: between how well the caption fits each test picture and the response to it.")];
}

/** The maps of attention that are the neuroid's: those of the smallest region it lies in, by the fit that is shown or the first that has some. */
function attentionOf(data, neuroid, fit) {
  const maps = data.attention.find((a) => a.fit === fit) ?? data.attention[0];
  if (!maps) return null;
  const size = (region) => unpack(region.inside).reduce((sum, v) => sum + v, 0);
  const mine = data.regions.filter((r) => unpack(r.inside)[neuroid] && maps.queries.includes(r.name)).sort((a, b) => size(a) - size(b));
  const region = mine.length ? mine[0].name : "none", query = maps.queries.indexOf(region);
  return query < 0 ? null : { maps, region, query };
}

/** A picture in grey with what moves the region in colour. */
function overlaid(p, which, { maps, region, query }) {
  const row = unpack(maps.row)[which], [, queries, height, width] = maps.shares.shape;
  if (row < 0) return [];
  const canvas = make("canvas", { width, height, role: "img", "aria-label": `Where ${region} looks in ${p.stimuli[which]}` });
  const pen = canvas.getContext("2d"), image = pen.createImageData(width, height), colour = NEUROENC.colours[5];
  unpack(maps.shares).subarray((row * queries + query) * height * width, (row * queries + query + 1) * height * width).forEach((share, i) => {
    for (let d = 0; d < 3; d++) image.data[4 * i + d] = parseInt(colour.slice(1 + 2 * d, 3 + 2 * d), 16);
    image.data[4 * i + 3] = Math.round(255 * 0.85 * (share / 255) ** 0.7);
  });
  pen.putImageData(image, 0, 0);
  return [make("span", { className: "seen" }, make("img", { src: p.pictures[which], alt: "", loading: "lazy" }), canvas)];
}

/** Stimuli that the neuroid answered to most, with where its region looks in them. */
function preferredOf(data, neuroid, attention) {
  const p = data.preferred;
  if (!p) return [];
  const most = p.order.shape[1], rows = [];
  for (let k = 0; k < most; k++) {
    const which = unpack(p.order)[neuroid * most + k];
    if (which < 0) continue;
    const what = make("td", { className: "text" }, make("strong", {}, p.stimuli[which]), " ", p.captions[which]);
    if (p.pictures) what.prepend(make("img", { src: p.pictures[which], alt: "", loading: "lazy" }), ...(attention ? overlaid(p, which, attention) : []), make("br"));
    rows.push(make("tr", { "data-stimulus": p.stimuli[which] }, what, number(unpack(p.response)[neuroid * most + k])));
  }
  const where = attention && `In colour: what moves the mean response of ${attention.region === "none" ? "voxels of no region" : attention.region} `
    + `(attention × slope, by ${attention.maps.fit}), a region's map and not this voxel's own; full from ${written(attention.maps.top[attention.query])}.`;
  return [make("h3", {}, `Test stimuli it answered to most, of ${p.n}`), make("table", { id: "preferred" }, make("tbody", {}, ...rows)),
    make("p", { className: "note" }, `Mean measured response (${p.units}); largest of many, so in part noise.`),
    ...(where ? [make("p", { className: "note", id: "attention-about" }, where)] : [])];
}

function synthesisOf(data, regions) {
  return data.synthesis.filter((s) => regions.includes(s.region)).flatMap((s) => [
    make("h3", {}, `Pictures that ${s.region} would answer to`),
    make("img", { src: s.picture, alt: `Pictures made for the region ${s.region}` }),
    ...(s.caption ? [make("p", { className: "note" }, `Caption it was drawn from: ${s.caption}`)] : [])]);
}

/** Accuracy over time, a line for each fit, with the interval of the one whose map is shown. */
function timesOf(data, neuroid, state) {
  if (!data.time) return [];
  const n = data.time.start.length, mid = data.time.start.map((a, k) => (a + data.time.stop[k]) / 2);
  const [w, h, left, right, top, bottom] = [380, 190, 46, 8, 8, 34];
  const series = data.fits.map((fit) => mid.map((_, k) => at(fit.arrays.pearson_r, neuroid, k)));
  const chosen = data.fits.findIndex((fit) => fit.name === state.fit);
  const limits = chosen < 0 ? [] : ["r_low", "r_high"].map((key) => mid.map((_, k) => at(data.fits[chosen].arrays[key], neuroid, k)));
  const every = [...series.flat(), ...limits.flat(), 0].filter(Number.isFinite);
  const low = Math.min(...every), high = Math.max(...every, low + 1e-3);
  const x = (t) => left + (w - left - right) * (n > 1 ? (t - mid[0]) / (mid[n - 1] - mid[0]) : 0.5);
  const y = (v) => top + (h - top - bottom) * (high - v) / (high - low);
  const draw = (tag, properties, text = "") => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };
  const svg = draw("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": "Accuracy over time" });
  const points = (values) => values.map((v, k) => [x(mid[k]), y(v)]).filter(([, v]) => Number.isFinite(v)).map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" ");
  if (limits.length) {
    const band = points(limits[0]) + " " + points(limits[1]).split(" ").reverse().join(" ");
    svg.append(draw("polygon", { points: band, fill: NEUROENC.colours[chosen % 8], "fill-opacity": 0.2 }));
  }
  svg.append(draw("line", { x1: left, x2: w - right, y1: y(0), y2: y(0), stroke: "#000", "stroke-dasharray": "2 3" }));
  svg.append(draw("line", { x1: x(mid[state.bin]), x2: x(mid[state.bin]), y1: top, y2: h - bottom, stroke: "#666" }));
  series.forEach((values, k) => svg.append(draw("polyline", { points: points(values), fill: "none", stroke: NEUROENC.colours[k % 8], "stroke-width": k === chosen ? 2.5 : 1.3 })));
  for (const v of [low, high]) svg.append(draw("text", { x: left - 4, y: y(v) + 4, "text-anchor": "end", "font-size": 11 }, v.toFixed(2)));
  for (const k of [0, n - 1]) svg.append(draw("text", { x: x(mid[k]), y: h - bottom + 14, "text-anchor": k ? "end" : "start", "font-size": 11 }, mid[k].toFixed(2)));
  svg.append(draw("text", { x: (w + left) / 2, y: h - 6, "text-anchor": "middle", "font-size": 11 }, "time from onset (s)"));
  svg.append(draw("text", { x: 11, y: h / 2 - 10, "text-anchor": "middle", "font-size": 11, transform: `rotate(-90 11 ${h / 2 - 10})` }, "Pearson r"));
  const key = make("p", { className: "note" });
  data.fits.forEach((fit, k) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = NEUROENC.colours[k % 8];
    key.append(swatch, ` ${fit.name}  `);
  });
  return [make("h3", {}, "Accuracy over time"), svg, key];
}
