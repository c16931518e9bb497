// The viewer page: ipyniivue's own file draws, and here stands in for the Jupyter kernel that it expects to talk to.
import widget from "./niivue.js";

const listing = await (await fetch("./cases.json")).json();
const models = {};

function model(id, state) {
  const listeners = {};
  models[id] = {
    get: (key) => state[key],
    set(key, value) {
      state[key] = value;
      for (const listener of listeners[`change:${key}`] ?? []) listener();
    },
    on: (event, listener) => (listeners[event] ??= []).push(listener),
    off(event, listener) {
      listeners[event] = listener ? (listeners[event] ?? []).filter((other) => other !== listener) : [];
    },
    send: ({ event, data }) => ({ location_change: sayWhere, image_loaded: () => --waiting || arrived() })[event]?.(data),
    ask: (type, ...data) => (listeners["msg:custom"] ?? []).forEach((listener) => listener({ type, data }, [])),
    save_changes() {},
    send_sync_message() {},
    _comm_live: false,
    widget_manager: { get_model: async (name) => models[name] },
  };
  return models[id];
}

const SHARED = { path: {}, paired_img_path: {}, colormap: "gray", colormap_negative: "", frame_4d: 0, colormap_type: 0,
  colorbar_visible: false, colormap_invert: false, modulation_image: null, modulate_alpha: 0 };
const element = (id) => document.getElementById(id);
const viewer = model("viewer", {
  this_model_id: "viewer", height: 0, volumes: [], meshes: [], background_masks_overlays: 0, draw_opacity: 0.8,
  overlay_outline_width: 0, overlay_alpha_shader: 1, opts: { backColor: [0, 0, 0, 1], crosshairColor: [1, 1, 1, 0.6],
    crosshairWidth: 0.5, isColorbar: false, isRadiologicalConvention: true, sagittalNoseLeft: true, multiplanarShowRender: 1 },
});
const drawing = Boolean(document.createElement("canvas").getContext("webgl2"));
let shown = null, queue = Promise.resolve(), waiting = 0, arrived = () => {};

// niivue mixes up what is asked of it while it loads: so one thing after the other.
const later = (job) => { queue = queue.then(job); };
const loading = (count) => new Promise((resolve) => { waiting = count; arrived = resolve; });

async function open(name) {
  if (name !== element("case").value) return;  // another was chosen meanwhile
  shown = listing.cases.find((one) => one.name === name);
  const seen = Object.keys(shown.layers).filter((layer) => Number(element(layer).value));
  element("facts").textContent = `${shown.title} · ${shown.facts}`;
  element("still").src = shown.still;
  element("still").alt = shown.alt;
  for (const layer of Object.keys(listing.legends)) element(layer).disabled = !(layer in shown.layers);
  if (location.hash.slice(1) !== name) history.replaceState(null, "", `#${name}`);
  if (!drawing) return;
  const all = loading(1 + seen.length);
  viewer.set("volumes", []);  // else niivue draws the old ones with the new ones first
  viewer.set("volumes", [volume("ct"), ...seen.map(volume)]);
  await all;
  viewer.set("scene", { crosshairPos: shown.centre });
  viewer.ask("draw_scene");
}

function volume(layer) {
  const id = `${shown.name}-${layer}_py`;  // niivue reports volumes whose name ends so to nobody
  const [low, high] = listing.windows[element("window").value];
  const own = layer === "ct" ? { url: shown.imaging, opacity: 1, cal_min: low, cal_max: high } : {
    url: shown.layers[layer], opacity: Number(element(layer).value), cal_min: 0, cal_max: 3,
    colormap_label: colours(listing.legends[layer]) };
  model(id, { ...SHARED, ...own, id, name: own.url.split("/").pop() });
  return `IPY_MODEL_${id}`;
}

// A layer is loaded when it is first seen: each that niivue holds costs time.
async function fade(layer) {
  const id = `${shown.name}-${layer}_py`;
  if (viewer.get("volumes").includes(`IPY_MODEL_${id}`)) {
    models[id].set("opacity", Number(element(layer).value));
  } else {
    const all = loading(1);
    viewer.set("volumes", [...viewer.get("volumes"), volume(layer)]);
    await all;
  }
}

function colours(legend) {
  const lut = [0, 0, 0, 0], labels = [""];
  for (const [name, rgb] of legend) { lut.push(...rgb, 255); labels.push(name); }
  return { lut, min: 0, max: legend.length, labels };
}

function sayWhere(place) {
  const values = place.values.map(({ name, value }) => [name.split(".")[0], value]);
  const said = values.map(([name, value]) => {
    const legend = listing.legends[name];
    return legend ? `${name}: ${value ? legend[value - 1][0] : "none"}` : `${Math.round(value)} HU`;
  });
  element("where").textContent = `${place.mm.slice(0, 3).map((mm) => mm.toFixed(0)).join(", ")} mm · ${said.join(" · ")}`;
}

for (const { name, title } of listing.cases) element("case").add(new Option(title, name));
for (const name of Object.keys(listing.windows)) element("window").add(new Option(name, name));
element("case").onchange = () => {
  const name = element("case").value;
  later(() => open(name));
};
element("window").onchange = () => {
  const [low, high] = listing.windows[element("window").value];
  const ct = models[`${shown.name}-ct_py`];
  ct.set("cal_min", low);
  ct.set("cal_max", high);
};
element("view").onchange = () => {
  viewer.set("opts", { ...viewer.get("opts"), sliceType: Number(element("view").value) });
  viewer.ask("draw_scene");
};
for (const layer of Object.keys(listing.legends)) {
  element(layer).oninput = () => drawing && later(() => fade(layer));
}

addEventListener("unhandledrejection", () => {
  element("where").textContent = "A file of this case could not be read.";
  arrived();
});
if (drawing) {
  const stage = element("stage");
  new ResizeObserver(() => viewer.set("height", stage.clientHeight)).observe(stage);
  viewer.set("height", stage.clientHeight);
  await widget.initialize({ model: viewer });
  await widget.render({ model: viewer, el: stage });
  const canvas = stage.querySelector("canvas");
  canvas.tabIndex = 0;
  canvas.onkeydown = (event) => {
    const moves = { ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1], ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    viewer.ask("move_crosshair_in_vox", ...moves[event.key]);
  };
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "CT in three planes and 3D, with what was drawn on it; the picture below shows the same case");
} else {
  element("stage").textContent = "This browser has no WebGL 2: the picture below shows the case.";
}
const wanted = decodeURIComponent(location.hash.slice(1));
element("case").value = listing.cases.some((one) => one.name === wanted) ? wanted : listing.cases[0].name;
later(() => open(element("case").value));
