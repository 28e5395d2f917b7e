"use strict";
// The colours of a map, its legend, and the table of all neuroids.

function shades(map) {
  if (map.kind !== "names") return unpack(NEUROENC.shades[map.kind === "signed" ? "signed" : "amount"]);
  const n = map.names.length, out = new Uint8Array(3 * n), sequence = unpack(NEUROENC.shades.amount);
  for (let k = 0; k < n; k++) {
    const few = n <= NEUROENC.colours.length, from = Math.round(255 * k / Math.max(1, n - 1));
    const hex = map.names[k] === "undecided" ? "#DDDDDD" : NEUROENC.colours[k];
    for (let d = 0; d < 3; d++) out[3 * k + d] = few ? parseInt(hex.slice(1 + 2 * d, 3 + 2 * d), 16) : sequence[3 * from + d];
  }
  return out;
}

function legend(map, range) {
  const box = $("legend"), colours = shades(map);
  box.replaceChildren();
  if (map.kind === "names") {
    map.names.forEach((name, k) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = `rgb(${colours.slice(3 * k, 3 * k + 3).join(",")})`;
      box.append(make("span", { className: "name" }, swatch, name));
    });
    return;
  }
  const canvas = make("canvas", { width: 256, height: 1 }), context = canvas.getContext("2d"), image = context.createImageData(256, 1);
  for (let k = 0; k < 256; k++) {
    const x = range[0] + (range[1] - range[0]) * k / 255, shown = Math.abs(x) >= state.threshold;
    for (let d = 0; d < 3; d++) image.data[4 * k + d] = shown ? colours[3 * k + d] : 205;
    image.data[4 * k + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const x = range[0] + share * (range[1] - range[0]);
    const tick = make("span", {}, map.kind === "chance" ? written(10 ** -x) : written(x));
    tick.style.left = `${100 * share}%`;
    return tick;
  });
  const unit = map.kind === "chance" ? `${map.unit}, on a logarithmic scale` : map.unit;
  box.append(make("div", { className: "bar" }, canvas, make("div", { className: "ends" }, ...ticks)), make("span", {}, unit));
}

function table(map, now) {
  const fit = fitFor(map), wanted = $("filter").value.toLowerCase();
  const of = (key) => (i) => at(fit.arrays[key], i, binOf(i, fit));
  const ceiling = (i) => Math.sqrt(Math.max(at(data.fits[0].arrays.ceiling, i, binOf(i, fit)), 0));
  const regions = (i) => data.regions.filter((r) => unpack(r.inside)[i]).map((r) => r.name).join(", ");
  const columns = { id: ["neuroid", (i) => data.ids[i]], hemisphere: ["side", (i) => data.hemisphere[i]], regions: ["regions", regions],
    value: [map.label, (i) => now[i]], r: [`r of ${fit.name}`, of("pearson_r")], q: [`q of ${fit.name}`, of("q")], ceiling: ["noise ceiling (r)", ceiling] };
  const text = new Set(["id", "hemisphere", "regions"]);
  $("table").tHead.replaceChildren(make("tr", {}, ...Object.entries(columns).map(([key, [name]]) => {
    const button = make("button", { type: "button" }, name + (sorted.column === key ? (sorted.down ? " ▼" : " ▲") : ""));
    button.onclick = () => { sorted = { column: key, down: sorted.column === key ? !sorted.down : !text.has(key) }; table(map, now); };
    return make("th", { scope: "col", className: text.has(key) ? "text" : "", "aria-sort": sorted.column === key ? (sorted.down ? "descending" : "ascending") : "none" }, button);
  })));
  const rows = [...data.ids.keys()].filter((i) => !wanted || [data.ids[i], data.hemisphere[i], regions(i)].join(" ").toLowerCase().includes(wanted));
  const key = columns[sorted.column][1], keys = new Map(rows.map((i) => [i, key(i)])), sign = sorted.down ? -1 : 1;
  rows.sort((a, b) => {
    const [x, y] = [keys.get(a), keys.get(b)];
    if (typeof x === "string") return sign * x.localeCompare(y, undefined, { numeric: true });
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b; // unknown ones last
    return sign * (x - y) || a - b;
  });
  const shown = rows.slice(0, ROWS);
  $("table-count").textContent = `${shown.length} of ${rows.length} rows${rows.length < data.ids.length ? ` that match, of ${data.ids.length}` : ""}.`;
  $("table").tBodies[0].replaceChildren(...shown.map((i) => {
    const value = map.kind === "names" ? make("td", { className: "text" }, map.names[now[i]] ?? "–")
      : number(map.kind === "chance" ? 10 ** -now[i] : now[i]);
    const row = make("tr", { className: i === state.voxel ? "chosen" : "" }, make("td", {}, make("button", { type: "button" }, data.ids[i])),
      make("td", { className: "text" }, data.hemisphere[i]), make("td", { className: "text" }, regions(i)), value, number(of("pearson_r")(i)), number(of("q")(i)), number(ceiling(i)));
    row.dataset.neuroid = i;
    row.onclick = () => ask(i);
    return row;
  }));
}
