"use strict";
// Values as the results hold them, and how they are written.

const TYPES = { float32: Float32Array, float64: Float64Array, int16: Int16Array, int32: Int32Array,
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array };

/** Unpack what `scripts.packed` wrote, once. */
function unpack(packed) {
  if (!packed.array) {
    const text = atob(packed.data);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    packed.array = new TYPES[packed.dtype](bytes.buffer);
    packed.data = "";
  }
  return packed.array;
}

/** The value of a neuroid, in a time bin where there are some. */
function at(packed, neuroid, bin) {
  const array = unpack(packed);
  const bins = packed.shape.length > 1 ? packed.shape[packed.shape.length - 1] : 1;
  return array[neuroid * bins + (bins > 1 ? bin : 0)];
}

/** The value of a row (a layer, a rival) and neuroid. */
function atRow(packed, row, neuroid, bin) {
  const [, n, bins = 1] = packed.shape;
  return unpack(packed)[(row * n + neuroid) * bins + (bins > 1 ? bin : 0)];
}

function written(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 0.0005 || size >= 100000) return value.toExponential(1).replaceAll("-", "−");
  const text = size >= 100 ? value.toFixed(1) : value.toFixed(size < 0.01 ? 4 : 3);
  return text.replace("-", "−");
}

/** Make an element; text goes in as text, whatever it holds. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A cell with a number as it is read, and as it is in the file. */
function number(value, extra = {}) {
  return make("td", { "data-value": String(value), title: Number.isFinite(value) ? String(value) : "not known", ...extra },
    written(value));
}
