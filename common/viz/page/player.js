// Time, controls, keyboard and pointer. `viewer` is there for the console and for tests.
const el = (id) => document.getElementById(id);
const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
const has = {
  hypotheses: PEOPLE.some((p) => p.hypotheses), spread: PEOPLE.some((p) => p.spread),
  truth: PEOPLE.some((p) => p.truth), keypoints: PEOPLE.some((p) => p.keypoints), floor: true, follow: true,
};
const LAYERS = {
  hypotheses: ["h", "Hypotheses"], spread: ["s", DATA.radius ? "Odds" : "Spread"], truth: ["t", "Truth"], keypoints: ["k", "2D joints"],
  floor: ["g", "Floor"], follow: ["f", "Follow"],
};
const layers = Object.fromEntries(Object.keys(LAYERS).map((name) => [name, has[name]]));
const state = { t: 0, playing: false, speed: 1, chosen: -1, layers, camera };
let joints = [], dirty = true, before = 0;
const last = DATA.frames - 1;

const redraw = () => { dirty = true; };
const seek = (t) => { state.t = Math.min(Math.max(t, 0), last); redraw(); };
function play(on) {
  if (on && state.t >= last) state.t = 0;
  state.playing = on && last > 0;
  el("icon").setAttribute("d", state.playing ? "M7 5h4v14H7zM13 5h4v14h-4z" : "M8 5v14l11-7z");
  el("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
  redraw();
}
function step(by) { play(false); seek(Math.round(state.t) + by); }
function setSpeed(value) { state.speed = value; el("speed").value = String(value); redraw(); }
function toggle(name) {
  if (!has[name]) return;
  layers[name] = !layers[name];
  el(`layer-${name}`).setAttribute("aria-pressed", layers[name]);
  drawLegend();
  redraw();
}
function choose(n) {
  state.chosen = state.chosen === n ? -1 : n;
  document.querySelectorAll("#people button").forEach((b, k) => b.setAttribute("aria-pressed", k === state.chosen));
  drawStrip();
  redraw();
}
function reset() { resetView(state.t); redraw(); }

function build() {
  document.title = DATA.title;
  el("title").textContent = DATA.title;
  el("note").textContent = el("note").title = DATA.note;
  el("seek").max = last;
  for (const s of SPEEDS) el("speed").add(new Option(`${s}×`, String(s), s === 1, s === 1));
  for (const [name, [key, label]] of Object.entries(LAYERS)) {
    if (!has[name]) continue;
    const button = document.createElement("button");
    button.id = `layer-${name}`;
    button.textContent = label;
    button.title = `${label} (${key})`;
    button.setAttribute("aria-pressed", layers[name]);
    button.onclick = () => toggle(name);
    el("home").before(button);
  }
  el("people").classList.toggle("many", MANY);
  if (PEOPLE.length > 1)
    PEOPLE.forEach((person, n) => {
      const button = document.createElement("button");
      button.textContent = person.short;
      button.title = button.ariaLabel = person.label;
      button.setAttribute("aria-pressed", false);
      button.onclick = () => choose(n);
      el("people").append(button);
    });
  const keys = [["Space", "play, pause"], ["← →", "a frame back, forward; ten with Shift"], ["Home End", "first, last frame"],
    ["+ −", "faster, slower"], ["r", "reset the view"], ["1 … 9", "single out a person"], ["[ ]", "the one before, after"],
    ...Object.entries(LAYERS).filter(([name]) => has[name]).map(([, [key, label]]) => [key, label.toLowerCase()]),
    ["Drag", "turn; with right button or Shift: move"], ["Wheel", "zoom"]];
  for (const [key, text] of keys) {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = key;
    dd.textContent = text;
    el("keylist").append(dt, dd);
  }
  el("play").onclick = () => play(!state.playing);
  el("back").onclick = () => step(-1);
  el("forward").onclick = () => step(1);
  el("home").onclick = reset;
  el("help").onclick = () => el("keys").showModal();
  el("speed").onchange = (e) => { setSpeed(Number(e.target.value)); e.target.blur(); };
  el("seek").oninput = (e) => seek(Number(e.target.value));
}

function drawLegend() {
  const legend = el("legend");
  legend.replaceChildren();
  const add = (text, colour) => {
    const mark = document.createElement("i");
    mark.style.background = colour;
    legend.append(text, mark);
  };
  if (layers.spread) {
    const ramp = document.createElement("i");
    ramp.className = "ramp";
    ramp.style.background = `linear-gradient(90deg, ${[0, 0.5, 1].map(rampColour).join(",")})`;
    legend.append(DATA.radius ? "9 times of 10 within 0" : "Spread: 0", ramp, `${Math.round(1000 * DATA.spread_scale)} mm\u2003`);
  } else {
    add("left", colours.left);
    add("right", colours.right);
  }
  if (layers.truth) add("truth", colours.truth);
}

// Of joints of which something is told; 0 where there are none.
function meanAbove0(values) {
  const told = values.filter((value) => value > 0);
  return told.length ? told.reduce((a, b) => a + b) / told.length : 0;
}

// The strip over the slider: where each person is there, and how unsure the chosen one's (or everybody's) pose is.
function drawStrip() {
  const [context, w, h] = fitCanvas(el("strip"));
  const bins = Math.max(2, Math.min(Math.round(w / 2), DATA.frames));
  const values = Array.from({ length: bins }, (_, i) => {
    const frames = PEOPLE.map((p, n) => [p, state.chosen < 0 || n === state.chosen ? localFrame(p, (i / (bins - 1)) * last) : -1]);
    const there = frames.filter(([, frame]) => frame >= 0);
    const means = there.map(([p, frame]) => (p.spread ? meanAbove0(at(p.spread, Math.round(frame), J)) : 0));
    return there.length ? Math.max(...means) : -1;
  });
  const most = Math.max(...values, 1e-6);
  context.beginPath();
  context.moveTo(0, h);
  values.forEach((value, i) => {
    const share = value < 0 ? 0 : 0.15 + (0.85 * value) / most;
    context.lineTo((i / (bins - 1)) * w, h - share * (h - 2));
  });
  context.lineTo(w, h);
  context.fillStyle = colours.accent;
  context.globalAlpha = 0.28;
  context.fill();
  context.globalAlpha = 1;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || el("keys").open || event.target.tagName === "SELECT") return;
  const big = event.shiftKey ? 10 : 1, at = SPEEDS.indexOf(state.speed);
  const actions = {
    " ": () => play(!state.playing), ArrowLeft: () => step(-big), ArrowRight: () => step(big),
    Home: () => { play(false); seek(0); }, End: () => { play(false); seek(last); },
    "+": () => setSpeed(SPEEDS[Math.min(at + 1, SPEEDS.length - 1)]), "=": () => setSpeed(SPEEDS[Math.min(at + 1, SPEEDS.length - 1)]),
    "-": () => setSpeed(SPEEDS[Math.max(at - 1, 0)]), r: reset, "?": () => el("keys").showModal(),
  };
  const next = (by) => choose(state.chosen < 0 ? (by > 0 ? 0 : PEOPLE.length - 1) : (state.chosen + by + PEOPLE.length) % PEOPLE.length);
  if (PEOPLE.length > 1) Object.assign(actions, { "[": () => next(-1), "]": () => next(1) });
  for (const [name, [key]] of Object.entries(LAYERS)) actions[key] = () => toggle(name);
  const number = Number(event.key);
  if (number >= 1 && number <= PEOPLE.length && PEOPLE.length > 1) actions[event.key] = () => choose(number - 1);
  const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

// One finger or the left button turns; two fingers, the right button or Shift move; pinch and wheel zoom.
const pointers = new Map();
function move(dx, dy) {
  const v = makeView(scene.clientWidth, scene.clientHeight), k = camera.distance / v.focal;
  for (let i = 0; i < 3; i++) camera.pan[i] += k * (-dx * v.right[i] + dy * v.up[i]);
}
function zoom(factor) { camera.distance = Math.min(Math.max(camera.distance * factor, 0.8), 40); redraw(); }
function onMove(event) {
  const from = pointers.get(event.pointerId);
  if (!from) return showTip(event);
  const dx = event.clientX - from.x, dy = event.clientY - from.y;
  if (pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, p]) => p);
    const apart = (p) => Math.hypot(p.x - other.x, p.y - other.y);
    zoom(Math.max(apart(from), 1) / Math.max(apart({ x: event.clientX, y: event.clientY }), 1));
    move(dx / 2, dy / 2);
  } else if (from.button === 2 || event.shiftKey) {
    move(dx, dy);
  } else {
    camera.yaw -= dx * 0.008;
    camera.pitch = Math.min(Math.max(camera.pitch + dy * 0.006, -0.3), 1.55);
  }
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, button: from.button });
  redraw();
}
// Of a root, which everything is seen from, nothing is told.
function told(spread) {
  if (!DATA.radius) return `± ${Math.round(1000 * spread)} mm`;
  return spread > 0 ? `9 times of 10 within ${Math.round(1000 * spread)} mm` : "seen from here";
}
function showTip(event) {
  const box = scene.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  const near = joints.map((j) => [Math.hypot(j.x - x, j.y - y), j]).sort((a, b) => a[0] - b[0])[0];
  const tip = el("tip");
  tip.style.opacity = near && near[0] < 14 ? 1 : 0;
  if (!near || near[0] >= 14) return;
  const { person, joint, spread } = near[1];
  tip.textContent = [PEOPLE.length > 1 ? person.label : "", DATA.skeleton.joints[joint],
    spread === null ? "" : told(spread)].filter(Boolean).join(" · ");
  tip.style.left = `${Math.min(near[1].x + 12, box.width - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.max(near[1].y - 30, 4)}px`;
}
function listen() {
  document.addEventListener("keydown", onKey);
  scene.addEventListener("pointerdown", (e) => {
    scene.setPointerCapture(e.pointerId);
    pointers.set(e.pointerId, { x: e.clientX, y: e.clientY, button: e.button });
    showTip(e);
  });
  scene.addEventListener("pointermove", onMove);
  for (const name of ["pointerup", "pointercancel"]) scene.addEventListener(name, (e) => pointers.delete(e.pointerId));
  scene.addEventListener("pointerleave", () => { el("tip").style.opacity = 0; });
  scene.addEventListener("contextmenu", (e) => e.preventDefault());
  scene.addEventListener("wheel", (e) => { e.preventDefault(); zoom(Math.exp(e.deltaY * 0.0012)); }, { passive: false });
  const relayout = () => { readColours(); drawLegend(); drawStrip(); redraw(); };
  new ResizeObserver(relayout).observe(document.body);
  new ResizeObserver(redraw).observe(scene);
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", relayout);
}

function follow(seconds) {
  const middle = layers.follow && centre(state.t);
  if (!middle) return;
  const share = state.playing ? 1 - Math.exp(-seconds * 5) : 1;
  for (let i = 0; i < 3; i++) camera.target[i] += share * (middle.mean[i] - camera.target[i]);
}

function tick(now) {
  const seconds = Math.min((now - before) / 1000, 0.25);
  before = now;
  if (state.playing) {
    state.t += seconds * state.speed * DATA.fps;
    if (state.t >= last) { state.t = last; play(false); }
    dirty = true;
  }
  if (dirty) {
    dirty = false;
    follow(seconds);
    joints = drawScene(state.t, layers, state.chosen);
    drawPicture(state.t, layers, state.chosen);
    const frame = Math.round(state.t);
    el("seek").value = frame;
    el("clock").textContent = `${(state.t / DATA.fps).toFixed(2)} s · ${frame} / ${last}`;
  }
  syncVideo(state.t / DATA.fps, state.playing, state.speed);
  requestAnimationFrame(tick);
}

readColours();
build();
startPicture(redraw);
listen();
resetView(0);
drawLegend();
drawStrip();
play(false);
requestAnimationFrame((now) => { before = now; tick(now); });
window.viewer = { state, seek, play, toggle, choose, reset };
