"use strict";
// The address: it holds the view, and what it does not name stays as it is.

/** What is chosen, as it stands in the address. */
function address() {
  const out = new URLSearchParams({ subject: state.subject, map: state.map });
  if (state.voxel >= 0) out.set("voxel", state.voxel);
  if (state.threshold > 0) out.set("threshold", Number(state.threshold.toPrecision(4)));
  if (state.high > 0) out.set("high", state.high);
  if (state.significant) out.set("significant", 1);
  if (data.time && !state.best) out.set("bin", state.bin);
  if (shapesOf().length > 1) out.set("shape", state.shape);
  if (slices) out.set("at", slices.toVoxel(slices.cross).join(" "));
  if (data.lies === "surface") out.set("side", state.side);
  if (data.lies === "surface" || data.grid) {
    const every = data.regions.map((r) => r.name);
    if (state.regions.length < every.length) {
      out.set("regions", "");
      for (const name of state.regions) out.append("region", name);
    }
  }
  if (scene) out.set("view", ["turn", "lift", "zoom", "right", "up"].map((k) => Number(scene.view[k].toFixed(3))).join(" "));
  return out.toString();
}

/** Keep the view in the address, once it rests. */
function settle() {
  clearTimeout(saving);
  saving = setTimeout(() => history.replaceState(null, "", `#${address()}`), 200);
}

/** Take the view from the address; what it does not name stays as it is. */
async function restore() {
  const said = new URLSearchParams(location.hash.slice(1)), number = (key, other) => (said.has(key) && Number.isFinite(Number(said.get(key))) ? Number(said.get(key)) : other);
  const subject = NEUROENC.names.includes(said.get("subject")) ? said.get("subject") : state.subject || NEUROENC.names[0];
  state.map = said.get("map") ?? state.map;
  state.threshold = Math.max(0, number("threshold", 0));
  state.high = number("high", null);
  state.significant = said.get("significant") === "1";
  state.voxel = said.has("voxel") && /^\d+$/.test(said.get("voxel")) ? Number(said.get("voxel")) : -1;
  state.best = !said.has("bin");
  state.bin = Math.max(0, Math.trunc(number("bin", 0)));
  if (said.has("shape")) state.shape = said.get("shape"); // one that is not there is the first
  const at = (said.get("at") ?? "").split(" ").map(Number);
  state.at = at.length === 3 && at.every(Number.isInteger) ? at : null;
  if (["both", "L", "R"].includes(said.get("side"))) state.side = said.get("side");
  state.regions = said.has("regions") ? said.getAll("region") : null;
  const view = (said.get("view") ?? "").split(" ").map(Number);
  if (scene && view.length === 5 && view.every(Number.isFinite)) {
    seen = true;
    [scene.view.turn, scene.view.lift, scene.view.zoom, scene.view.right, scene.view.up] = view;
  }
  await openSubject(subject);
}
