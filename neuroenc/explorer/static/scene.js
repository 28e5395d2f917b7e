"use strict";
// Surfaces and points by WebGL2: each in one draw call, redrawn only when something changes.

const VERTEX = `#version 300 es
in vec3 place; in vec3 normal; in vec2 value; in float extra; in vec4 inside;
uniform mat4 view; uniform mat3 turn; uniform float size;
out vec3 facing; out vec2 shown; out float depth; out vec4 mask; flat out vec2 single;
void main() {
  gl_Position = view * vec4(place, 1.0);
  gl_PointSize = size * (extra > 0.0 ? extra : 1.0);
  facing = turn * normal; shown = value; single = value; depth = extra; mask = inside;
}`;

const SURFACE = `#version 300 es
precision highp float;
in vec3 facing; in vec2 shown; in float depth; in vec4 mask; flat in vec2 single;
uniform sampler2D shades; uniform vec2 range; uniform float threshold; uniform vec4 drawn; uniform int mode;
uniform bool names, lit;
out vec4 colour;
void main() {
  float towards = abs(normalize(facing).z);
  if (mode == 1) {  // outlines: where the membership of a region, 0 or 1 at vertices, goes through a half
    vec4 width = max(fwidth(mask), 1e-4);
    vec4 near = drawn * (1.0 - smoothstep(width * 0.9, width * 1.7, abs(mask - 0.5)));
    float most = max(max(near.x, near.y), max(near.z, near.w));
    if (most < 0.05) discard;
    colour = vec4(vec3(0.05) * most, most);
    return;
  }
  if (mode == 2) {  // a brain of glass
    float edge = 1.0 - towards;
    float alpha = 0.03 + 0.3 * edge * edge;
    colour = vec4(vec3(0.35) * alpha, alpha);
    return;
  }
  vec3 base = vec3(depth > 0.0 ? 0.66 : 0.82);
  vec2 it = names ? single : shown;
  if (it.y > 0.5) {
    float x = it.x / it.y;
    if (abs(x) >= threshold) base = texture(shades, vec2((x - range.x) / (range.y - range.x), 0.5)).rgb;
  }
  colour = vec4(base * (lit ? 0.72 + 0.28 * towards : 1.0), 1.0);
}`;

const POINTS = `#version 300 es
precision highp float;
in vec2 shown;
uniform sampler2D shades; uniform vec2 range; uniform float threshold; uniform int mode;
out vec4 colour;
void main() {
  vec2 from = gl_PointCoord * 2.0 - 1.0;
  float far = length(from);
  if (far > 1.0) discard;
  if (mode == 3) {  // the ring around what was asked
    if (far < 0.62) discard;
    colour = far > 0.74 && far < 0.9 ? vec4(1.0, 1.0, 1.0, 1.0) : vec4(0.0, 0.0, 0.0, 1.0);
    return;
  }
  if (shown.y < 0.5 || abs(shown.x) < threshold) {
    if (far < 0.6) discard;
    colour = vec4(0.6, 0.6, 0.6, 1.0);
    return;
  }
  vec3 base = texture(shades, vec2((shown.x - range.x) / (range.y - range.x), 0.5)).rgb;
  colour = vec4(far > 0.82 ? vec3(0.2) : base, 1.0);
}`;

const PLACES = { place: [0, 3], normal: [1, 3], value: [2, 2], extra: [3, 1], inside: [4, 4] };
const DEEP = 2000; // mm in front of and behind the middle

class Scene {
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { antialias: true, alpha: false, preserveDrawingBuffer: true });
    if (!this.gl) throw new Error("WebGL2 is not to be had");
    this.surface = this.program(SURFACE);
    this.points = this.program(POINTS);
    this.buffers = {};
    this.texture = this.gl.createTexture();
    this.body = null;
    this.glass = null;
    this.outlines = [];
    this.colours = { range: [0, 1], threshold: 0, names: false };
    this.view = { turn: -90, lift: 0, zoom: 1, right: 0, up: 0 };
    this.chosen = -1;
  }

  program(fragment) {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    for (const [name, [index]] of Object.entries(PLACES)) gl.bindAttribLocation(program, index, name);
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    const uniforms = {};
    for (const name of ["view", "turn", "size", "shades", "range", "threshold", "drawn", "mode", "names", "lit"]) {
      uniforms[name] = gl.getUniformLocation(program, name);
    }
    return { program, uniforms };
  }

  /** Show a body: {places, faces or null, ranges: {side: [first, count]}, extra, lit, flat}; points have no faces. */
  setBody(body, glass = null) {
    const ready = (it) => it && { ...it, normals: it.faces ? normals(it.places, it.faces) : null };
    this.body = ready(body);
    this.glass = ready(glass);
    this.extent = extent(glass ? glass.places : body.places, body.faces && body.flat ? body.faces : null);
    this.fill("body", this.body);
    this.fill("glass", this.glass);
    this.setValues(new Float32Array(body.places.length / 3).fill(NaN));
    this.outlines = [];
    this.chosen = -1;
  }

  fill(name, body) {
    if (!body) return;
    const gl = this.gl;
    for (const part of ["places", "normals", "extra"]) {
      if (body[part]) this.upload(`${name}.${part}`, body[part], gl.ARRAY_BUFFER);
    }
    if (body.faces) this.upload(`${name}.faces`, body.faces, gl.ELEMENT_ARRAY_BUFFER);
  }

  upload(name, array, target) {
    this.buffers[name] ??= this.gl.createBuffer();
    this.gl.bindBuffer(target, this.buffers[name]);
    this.gl.bufferData(target, array, this.gl.STATIC_DRAW);
  }

  /** Values of vertices or points, NaN where there is none. */
  setValues(values) {
    const pairs = new Float32Array(values.length * 2);
    for (let i = 0; i < values.length; i++) {
      if (!Number.isNaN(values[i])) { pairs[2 * i] = values[i]; pairs[2 * i + 1] = 1; }
    }
    this.upload("value", pairs, this.gl.ARRAY_BUFFER);
  }

  setExtra(extra) {
    this.upload("body.extra", extra, this.gl.ARRAY_BUFFER);
  }

  /** Colours: {shades: Uint8Array of RGB, range: [low, high], threshold, names}. */
  setColours(colours) {
    const gl = this.gl, n = colours.shades.length / 3;
    this.colours = colours;
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, n, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, colours.shades);
    const filter = colours.names ? gl.NEAREST : gl.LINEAR;
    for (const key of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, key, filter);
    for (const key of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, key, gl.CLAMP_TO_EDGE);
  }

  /** Regions to outline: a Uint8Array of vertices each; four go into one pass, over the faces that an outline crosses. */
  setOutlines(masks) {
    this.outlines = [];
    const { faces, ranges } = this.body;
    for (let first = 0; first < masks.length; first += 4) {
      const four = masks.slice(first, first + 4), crossed = [], parts = {};
      for (const [side, [from, count]] of Object.entries(ranges)) {
        parts[side] = [crossed.length, 0];
        for (let f = from; f < from + count; f += 3) {
          const [i, j, k] = [faces[f], faces[f + 1], faces[f + 2]];
          if (four.some((mask) => mask[i] !== mask[j] || mask[j] !== mask[k])) crossed.push(i, j, k);
        }
        parts[side][1] = crossed.length - parts[side][0];
      }
      this.upload(`crossed${first}`, Uint32Array.from(crossed), this.gl.ELEMENT_ARRAY_BUFFER);
      const packed = new Uint8Array(four[0].length * 4);
      four.forEach((mask, k) => { for (let i = 0; i < mask.length; i++) packed[4 * i + k] = mask[i] ? 255 : 0; });
      this.upload(`inside${first}`, packed, this.gl.ARRAY_BUFFER);
      this.outlines.push({ name: `inside${first}`, faces: `crossed${first}`, parts, whole: [0, crossed.length], drawn: [0, 1, 2, 3].map((k) => +(k < four.length)) });
    }
  }

  /** Axes of the eye: to the right, up, and towards it. */
  axes() {
    return this.body.flat ? axesOf(0, 90) : axesOf(this.view.turn, this.view.lift);
  }

  scale() {
    const { width, height } = this.canvas, [x, y, z] = this.extent.reach;
    const across = this.body.flat ? x : Math.max(x, y), upright = this.body.flat ? y : Math.max(y, z);
    const half = Math.max(upright, across * height / width) * 1.05 / this.view.zoom; // mm
    return [height / width / half, 1 / half];
  }

  matrix() {
    const axes = this.axes(), [kx, ky] = this.scale(), factors = [kx, ky, -1 / DEEP];
    const out = new Float32Array(16);
    const shift = [this.view.right * kx, this.view.up * ky, 0];
    for (let row = 0; row < 3; row++) {
      let away = 0;
      for (let k = 0; k < 3; k++) {
        out[4 * k + row] = axes[row][k] * factors[row];
        away += axes[row][k] * this.extent.middle[k];
      }
      out[12 + row] = -away * factors[row] + shift[row];
    }
    out[15] = 1;
    return out;
  }

  bind(name, values) {
    const gl = this.gl;
    const sources = { place: `${name}.places`, normal: `${name}.normals`, extra: `${name}.extra`, value: values };
    for (const [attribute, [index, size]] of Object.entries(PLACES)) {
      const buffer = this.buffers[sources[attribute]], there = this[name]?.[{ normal: "normals", extra: "extra" }[attribute] ?? "places"];
      if (buffer && there && sources[attribute]) {
        gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
        gl.enableVertexAttribArray(index);
        gl.vertexAttribPointer(index, size, gl.FLOAT, false, 0, 0);
      } else {
        gl.disableVertexAttribArray(index);
        gl.vertexAttrib4f(index, 0, 0, 0, 0);
      }
    }
  }

  use({ program, uniforms }, mode) {
    const gl = this.gl, axes = this.axes();
    gl.useProgram(program);
    gl.uniformMatrix4fv(uniforms.view, false, this.matrix());
    gl.uniformMatrix3fv(uniforms.turn, false, [0, 1, 2].flatMap((k) => axes.map((axis) => axis[k])));
    gl.uniform1i(uniforms.shades, 0);
    gl.uniform2fv(uniforms.range, this.colours.range);
    gl.uniform1f(uniforms.threshold, this.colours.threshold);
    gl.uniform1i(uniforms.mode, mode);
    gl.uniform1i(uniforms.names, +this.colours.names);
    gl.uniform1i(uniforms.lit, +!this.body.flat);
    gl.uniform1f(uniforms.size, 1);
    return uniforms;
  }

  drawFaces(name) {
    const gl = this.gl, body = this[name];
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers[`${name}.faces`]);
    const [first, count] = this.range(body);
    gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 4 * first);
  }

  range(body) {
    return body.ranges?.[body.side] ?? [0, body.faces.length];
  }

  draw() {
    const gl = this.gl, ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio)), height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.clearColor(1, 1, 1, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (!this.body) return;
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL);
    gl.disable(gl.BLEND);
    this.bind("body", "value");
    if (this.body.faces) {
      this.use(this.surface, 0);
      this.drawFaces("body");
    } else {
      const uniforms = this.use(this.points, 0);
      gl.uniform1f(uniforms.size, this.pointSize());
      gl.drawArrays(gl.POINTS, 0, this.body.places.length / 3);
    }
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    for (const { name, faces, parts, whole, drawn } of this.outlines) {
      const uniforms = this.use(this.surface, 1);
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.enableVertexAttribArray(PLACES.inside[0]);
      gl.vertexAttribPointer(PLACES.inside[0], 4, gl.UNSIGNED_BYTE, true, 0, 0);
      gl.uniform4fv(uniforms.drawn, drawn);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers[faces]);
      const [first, count] = parts[this.body.side] ?? whole;
      gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 4 * first);
    }
    gl.disableVertexAttribArray(PLACES.inside[0]);
    if (this.chosen >= 0) {
      const uniforms = this.use(this.points, 3);
      gl.disable(gl.DEPTH_TEST);
      if (!this.body.faces) gl.disableVertexAttribArray(PLACES.extra[0]);
      gl.vertexAttrib4f(PLACES.extra[0], 1, 0, 0, 0);
      gl.disableVertexAttribArray(PLACES.extra[0]);
      gl.uniform1f(uniforms.size, 20 * ratio);
      if (this.body.faces === null || this.project(this.chosen)[2] > -0.1) gl.drawArrays(gl.POINTS, this.chosen, 1);
    }
    if (this.glass) {
      gl.enable(gl.DEPTH_TEST);
      gl.depthMask(false);
      this.bind("glass", "");
      this.use(this.surface, 2);
      this.drawFaces("glass");
      gl.depthMask(true);
    }
  }

  pointSize() {
    return this.body.size * Math.sqrt(this.view.zoom) * (window.devicePixelRatio || 1);
  }

  /** Where a vertex is on the page, px from the upper left, and whether it faces the eye (above 0). */
  project(index) {
    const m = this.matrix(), p = this.body.places.subarray(3 * index, 3 * index + 3), n = this.body.normals?.subarray(3 * index, 3 * index + 3);
    const clip = [0, 1].map((row) => m[row] * p[0] + m[4 + row] * p[1] + m[8 + row] * p[2] + m[12 + row]);
    const towards = this.axes()[2];
    const facing = !n || this.body.flat ? 1 : towards[0] * n[0] + towards[1] * n[1] + towards[2] * n[2];
    return [(clip[0] + 1) / 2 * this.canvas.clientWidth, (1 - clip[1]) / 2 * this.canvas.clientHeight, facing];
  }

  /** The vertex or point under a place of the page, -1 if there is none. */
  pick(x, y) {
    const { places, faces } = this.body, m = this.matrix(), n = places.length / 3, eye = new Float32Array(3 * n);
    for (let i = 0; i < 3 * n; i += 3) {
      const a = places[i], b = places[i + 1], c = places[i + 2];
      for (let row = 0; row < 3; row++) eye[i + row] = m[row] * a + m[4 + row] * b + m[8 + row] * c + m[12 + row];
    }
    const w = this.canvas.clientWidth, h = this.canvas.clientHeight, px = 2 * x / w - 1, py = 1 - 2 * y / h;
    let best = -1, nearest = Infinity;
    if (!faces) {
      const reach = Math.max(7, this.pointSize() / (window.devicePixelRatio || 1) / 2 + 2);
      for (let i = 0; i < n; i++) {
        const away = Math.hypot((eye[3 * i] - px) * w / 2, (eye[3 * i + 1] - py) * h / 2);
        const cost = away / reach + 0.05 * eye[3 * i + 2];
        if (away <= reach && cost < nearest) { nearest = cost; best = i; }
      }
      return best;
    }
    const [first, count] = this.range(this.body);
    for (let f = first; f < first + count; f += 3) {
      const i = 3 * faces[f], j = 3 * faces[f + 1], k = 3 * faces[f + 2];
      const ax = eye[i] - px, ay = eye[i + 1] - py, bx = eye[j] - px, by = eye[j + 1] - py, cx = eye[k] - px, cy = eye[k + 1] - py;
      const u = bx * cy - cx * by, v = cx * ay - ax * cy, t = ax * by - bx * ay, area = u + v + t;
      if (area === 0 || u * area < 0 || v * area < 0 || t * area < 0) continue;
      const depth = (u * eye[i + 2] + v * eye[j + 2] + t * eye[k + 2]) / area;
      if (depth < nearest) {
        nearest = depth;
        const most = Math.max(u / area, v / area, t / area);
        best = (most === u / area ? i : most === v / area ? j : k) / 3;
      }
    }
    return best;
  }
}

/** Axes of an eye that is turned about the vertical from behind, and lifted, in degrees. */
function axesOf(turn, lift) {
  const [a, e] = [turn * Math.PI / 180, lift * Math.PI / 180];
  const [sa, ca, se, ce] = [Math.sin(a), Math.cos(a), Math.sin(e), Math.cos(e)];
  return [[ca, sa, 0], [-sa * se, ca * se, ce], [sa * ce, -ca * ce, se]];
}

/** Unit normals of vertices, faces weighing by their area. */
function normals(places, faces) {
  const out = new Float32Array(places.length);
  for (let f = 0; f < faces.length; f += 3) {
    const i = 3 * faces[f], j = 3 * faces[f + 1], k = 3 * faces[f + 2];
    const ax = places[j] - places[i], ay = places[j + 1] - places[i + 1], az = places[j + 2] - places[i + 2];
    const bx = places[k] - places[i], by = places[k + 1] - places[i + 1], bz = places[k + 2] - places[i + 2];
    const x = ay * bz - az * by, y = az * bx - ax * bz, z = ax * by - ay * bx;
    for (let corner = 0; corner < 3; corner++) {
      const v = 3 * faces[f + corner];
      out[v] += x;
      out[v + 1] += y;
      out[v + 2] += z;
    }
  }
  for (let i = 0; i < out.length; i += 3) {
    const length = Math.hypot(out[i], out[i + 1], out[i + 2]) || 1;
    for (let d = 0; d < 3; d++) out[i + d] /= length;
  }
  return out;
}

/** The middle of places and how far they reach from it along each axis; of those that have faces, if any are given. */
function extent(places, faces) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  const take = (i) => {
    for (let d = 0; d < 3; d++) {
      const value = places[3 * i + d];
      if (Number.isFinite(value)) { low[d] = Math.min(low[d], value); high[d] = Math.max(high[d], value); }
    }
  };
  if (faces) for (const i of faces) take(i);
  else for (let i = 0; i < places.length / 3; i++) take(i);
  const middle = low.map((v, d) => (v + high[d]) / 2);
  return { middle, reach: low.map((v, d) => Math.max((high[d] - v) / 2, 1e-6)) };
}
