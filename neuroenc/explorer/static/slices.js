"use strict";
// Slices of the volume that neuroids lie in, along its own axes: one cell is one voxel, nothing is resampled.

// axes of the body: 0 from left to right, 1 from back to front, 2 from below to above
// which slices lie side by side and above one another: those share an axis, and the crosshair runs through both
const PLANES = [{ name: "coronal", across: 0, up: 2, through: 1, column: 0, row: 0 },
  { name: "sagittal", across: 1, up: 2, through: 0, column: 1, row: 0 }, { name: "axial", across: 0, up: 1, through: 2, column: 0, row: 1 }];
const ENDS = [["L", "R"], ["P", "A"], ["I", "S"]];
const AROUND = 2, EDGE = 16, HEAD = 20; // voxels around all neuroids; px beside a slice and more above it
const NOTHING = [246, 246, 246], UNKNOWN = [205, 205, 205];

class Slices {
  constructor(canvas, grid) {
    const voxels = unpack(grid.voxels), n = voxels.length / 3;
    Object.assign(this, { canvas, grid, cross: [0, 0, 0], colours: new Uint8Array(3 * n), masks: [] });
    this.zooms = grid.axes.map((axis) => grid.zooms[axis]);
    this.body = new Int32Array(3 * n).fill(-1); // of each neuroid along the axes of the body
    const low = [Infinity, Infinity, Infinity], high = [-1, -1, -1];
    this.inside = 0;
    for (let i = 0; i < n; i++) {
      if (voxels[3 * i] < 0) continue;
      this.inside += 1;
      this.toBody(voxels.subarray(3 * i, 3 * i + 3)).forEach((v, d) => {
        this.body[3 * i + d] = v;
        low[d] = Math.min(low[d], v);
        high[d] = Math.max(high[d], v);
      });
    }
    const length = grid.axes.map((axis) => grid.shape[axis]);
    this.first = low.map((v) => Math.max(0, v - AROUND));
    this.size = high.map((v, d) => Math.min(length[d] - 1, v + AROUND) - this.first[d] + 1);
    this.under = new Int32Array(this.size[0] * this.size[1] * this.size[2]).fill(-1);
    for (let i = 0; i < n; i++) if (this.body[3 * i] >= 0) this.under[this.cell(this.body.subarray(3 * i, 3 * i + 3))] = i;
  }

  /** Where a voxel of the grid lies along the axes of the body, and back: each is its own inverse but for the order. */
  toBody(voxel) {
    return this.grid.axes.map((axis, d) => (this.grid.flips[d] ? this.grid.shape[axis] - 1 - voxel[axis] : voxel[axis]));
  }

  toVoxel(body) {
    const voxel = [0, 0, 0];
    this.grid.axes.forEach((axis, d) => { voxel[axis] = this.grid.flips[d] ? this.grid.shape[axis] - 1 - body[d] : body[d]; });
    return voxel;
  }

  cell(body) {
    const [a, b, c] = [0, 1, 2].map((d) => body[d] - this.first[d]);
    return (a * this.size[1] + b) * this.size[2] + c;
  }

  /** The neuroid under the crosshair, -1 none. */
  chosen() {
    return this.under[this.cell(this.cross)];
  }

  /** Put the crosshair to a place of the body, as far as slices reach. */
  move(body) {
    this.cross = body.map((v, d) => Math.max(this.first[d], Math.min(this.first[d] + this.size[d] - 1, v)));
  }

  go(neuroid) {
    if (this.body[3 * neuroid] >= 0) this.cross = [...this.body.subarray(3 * neuroid, 3 * neuroid + 3)];
  }

  /** Colour each neuroid as surfaces are coloured, except that there is no light. */
  setValues(values, { shades, range, threshold, names }) {
    const last = shades.length / 3 - 1;
    values.forEach((value, i) => {
      const shown = Number.isFinite(value) && (names || Math.abs(value) >= threshold);
      const share = Math.max(0, Math.min(1, (value - range[0]) / (range[1] - range[0])));
      const k = names ? value : Math.round(share * last);
      for (let d = 0; d < 3; d++) this.colours[3 * i + d] = shown ? shades[3 * k + d] : UNKNOWN[d];
    });
  }

  /** Where each slice is drawn: px from the upper left, and px a mm. */
  layout() {
    const { clientWidth: w, clientHeight: h } = this.canvas, [wide, deep, high] = this.size.map((n, d) => n * this.zooms[d]);
    const beside = 2 * EDGE, above = 2 * EDGE + HEAD;
    const scale = Math.max(0.1, Math.min((w - 2 * beside) / (wide + deep), (h - 2 * above) / (high + deep)));
    const [left, top] = [(w - (wide + deep) * scale - 2 * beside) / 2, Math.max(0, (h - (high + deep) * scale - 2 * above) / 2)];
    return PLANES.map((plane) => ({
      plane, x: left + EDGE + plane.column * (wide * scale + beside), y: top + HEAD + EDGE + plane.row * (high * scale + above),
      width: this.size[plane.across] * this.zooms[plane.across] * scale, height: this.size[plane.up] * this.zooms[plane.up] * scale,
    }));
  }

  /** What lies under a place of the page: the plane and the place of the body; null beside all slices. */
  pick(x, y) {
    for (const { plane, x: left, y: top, width, height } of this.layout()) {
      const across = (x - left) / width, up = 1 - (y - top) / height;
      if (across < 0 || across >= 1 || up < 0 || up >= 1) continue;
      const body = [...this.cross];
      body[plane.across] = this.first[plane.across] + Math.floor(across * this.size[plane.across]);
      body[plane.up] = this.first[plane.up] + Math.floor(up * this.size[plane.up]);
      return { plane, body };
    }
    return null;
  }

  /** The neuroid of each cell of a slice, row by row from above. */
  slice(plane) {
    const [wide, high] = [this.size[plane.across], this.size[plane.up]], out = new Int32Array(wide * high), body = [...this.cross];
    for (let row = 0; row < high; row++) {
      for (let column = 0; column < wide; column++) {
        body[plane.across] = this.first[plane.across] + column;
        body[plane.up] = this.first[plane.up] + high - 1 - row;
        out[row * wide + column] = this.under[this.cell(body)];
      }
    }
    return { wide, high, neuroids: out };
  }

  draw() {
    const ratio = window.devicePixelRatio || 1, pen = this.canvas.getContext("2d");
    Object.assign(this.canvas, { width: Math.round(this.canvas.clientWidth * ratio), height: Math.round(this.canvas.clientHeight * ratio) });
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    for (const box of this.layout()) {
      const slice = this.slice(box.plane), image = new ImageData(slice.wide, slice.high);
      slice.neuroids.forEach((neuroid, i) => {
        for (let d = 0; d < 3; d++) image.data[4 * i + d] = neuroid < 0 ? NOTHING[d] : this.colours[3 * neuroid + d];
        image.data[4 * i + 3] = 255;
      });
      const small = make("canvas", { width: slice.wide, height: slice.high });
      small.getContext("2d").putImageData(image, 0, 0);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(small, box.x, box.y, box.width, box.height);
      this.drawOutlines(pen, box, slice);
      this.drawCross(pen, box);
      this.drawText(pen, box);
    }
  }

  /** Edges between cells of which one lies in a region, the other not. */
  drawOutlines(pen, { x, y, width, height }, { wide, high, neuroids }) {
    pen.beginPath();
    for (const mask of this.masks) {
      const inside = (row, column) => {
        const neuroid = row < 0 || column < 0 || row >= high || column >= wide ? -1 : neuroids[row * wide + column];
        return neuroid >= 0 && mask[neuroid] > 0;
      };
      for (let row = 0; row <= high; row++) {
        for (let column = 0; column <= wide; column++) {
          const [a, b] = [x + column * width / wide, y + row * height / high], here = inside(row, column);
          if (here !== inside(row - 1, column)) { pen.moveTo(a, b); pen.lineTo(a + width / wide, b); }
          if (here !== inside(row, column - 1)) { pen.moveTo(a, b); pen.lineTo(a, b + height / high); }
        }
      }
    }
    Object.assign(pen, { strokeStyle: "#111", lineWidth: 1 });
    pen.stroke();
  }

  drawCross(pen, { plane, x, y, width, height }) {
    const [w, h] = [width / this.size[plane.across], height / this.size[plane.up]];
    const left = x + (this.cross[plane.across] - this.first[plane.across]) * w;
    const top = y + height - (this.cross[plane.up] - this.first[plane.up] + 1) * h;
    for (const [strokeStyle, lineWidth] of [["#fff", 3], ["#000", 1]]) {
      Object.assign(pen, { strokeStyle, lineWidth });
      pen.beginPath();
      pen.rect(left, top, w, h);
      for (const [a, b, c, d] of [[x, top + h / 2, left, top + h / 2], [left + w, top + h / 2, x + width, top + h / 2],
        [left + w / 2, y, left + w / 2, top], [left + w / 2, top + h, left + w / 2, y + height]]) { pen.moveTo(a, b); pen.lineTo(c, d); }
      pen.stroke();
    }
  }

  drawText(pen, { plane, x, y, width, height }) {
    const say = (text, a, b) => pen.fillText(text, a, b), axis = this.grid.axes[plane.through];
    Object.assign(pen, { fillStyle: "#1a1a1a", font: "600 13px system-ui, sans-serif", textAlign: "center", textBaseline: "middle" });
    say(`${plane.name}, ${"ijk"[axis]} = ${this.toVoxel(this.cross)[axis]}`, x + width / 2, y - EDGE - 4);
    const [across, up] = [ENDS[plane.across], ENDS[plane.up]];
    say(across[0], x - EDGE / 2, y + height / 2);
    say(across[1], x + width + EDGE / 2, y + height / 2);
    say(up[1], x + width / 2, y - EDGE / 2 + 2);
    say(up[0], x + width / 2, y + height + EDGE / 2);
  }
}

/** Ask what lies under the crosshair, which a click or a key has moved. */
function askCross(body) {
  slices.move(body);
  const neuroid = slices.chosen(), text = `No neuroid lies at voxel ${slices.toVoxel(slices.cross).join(", ")}.`;
  if (neuroid >= 0) { ask(neuroid); return; }
  state.voxel = -1;
  $("asked").replaceChildren(make("p", { className: "note" }, text));
  $("status").textContent = text;
  for (const row of $("table").querySelectorAll("tr.chosen")) row.classList.remove("chosen");
  settle();
  redraw();
}

function wireSlices(canvas) {
  const found = (event) => {
    const box = canvas.getBoundingClientRect();
    return slices?.pick(event.clientX - box.left, event.clientY - box.top);
  };
  canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); const at = found(event); if (at) askCross(at.body); };
  canvas.onpointermove = (event) => { const at = event.buttons & 1 ? found(event) : null; if (at) askCross(at.body); };
  canvas.addEventListener("wheel", (event) => {
    const at = found(event);
    if (!at) return;
    event.preventDefault();
    askCross(slices.cross.map((v, d) => v + (d === at.plane.through ? -Math.sign(event.deltaY) : 0)));
  }, { passive: false });
  canvas.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !slices) return;
    const by = { ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1], PageUp: [0, 1, 0], PageDown: [0, -1, 0] }[event.key];
    if (by) askCross(slices.cross.map((v, d) => v + by[d]));
    else if (event.key === "n" || event.key === "p") ask((state.voxel + (event.key === "n" ? 1 : -1) + data.ids.length) % data.ids.length);
    else if (event.key === "," || event.key === ".") step(event.key === "." ? 1 : -1);
    else if (event.key === "0") ask(highest());
    else return;
    event.preventDefault();
  };
}

/** The neuroid of the grid with the largest value of the map; of names the first that has one. */
function highest() {
  const now = values(chosenMap()), voxels = unpack(data.grid.voxels), names = chosenMap().kind === "names";
  const better = (i, best) => Number.isFinite(now[i]) && (!Number.isFinite(now[best]) || (!names && now[i] > now[best]));
  let best = -1;
  for (let i = 0; i < now.length; i++) if (voxels[3 * i] >= 0 && (best < 0 || better(i, best))) best = i;
  return best;
}
