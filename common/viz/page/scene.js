// The 3D view on a 2D canvas: a perspective camera that circles a target. World: metres, z up.
const scene = document.getElementById("scene");
const HOME = { yaw: 0.45, pitch: 0.16, pan: [0, 0, 0] };
const camera = { yaw: 0, pitch: 0, distance: 4, pan: [0, 0, 0], target: null };
let colours = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["left", "right", "middle", "truth", "grid", "shadow", "panel", "text", "quiet", "accent", "line"])
    colours[name] = style.getPropertyValue(`--${name}`).trim();
}

function fitCanvas(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const w = Math.round(canvas.clientWidth * ratio), h = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  return [context, canvas.clientWidth, canvas.clientHeight];
}

// The middle of the people who are there, and how far they reach from it.
function centre(t) {
  const roots = [];
  for (const person of PEOPLE) {
    const frame = localFrame(person, t);
    if (person.hidden || frame < 0) continue;
    const pose = at(person.pose, frame, 3 * J), r = 3 * DATA.skeleton.root;
    roots.push([pose[r], pose[r + 1], DATA.floor + 0.9]);
  }
  if (!roots.length) return null;
  const mean = [0, 1, 2].map((i) => roots.reduce((s, p) => s + p[i], 0) / roots.length);
  return { mean, radius: Math.max(...roots.map((p) => Math.hypot(p[0] - mean[0], p[1] - mean[1]))) };
}

// From in front, a little aside, far enough back that everybody fits whenever they are farthest apart.
function resetView(t) {
  const times = Array.from({ length: 50 }, (_, i) => Math.round((i / 49) * (DATA.frames - 1)));
  const radius = Math.max(0, ...times.map((time) => (centre(time) || { radius: 0 }).radius));
  const w = Math.max(scene.clientWidth, 1), focal = focalLength(w, Math.max(scene.clientHeight, 1));
  const first = times.map(centre).find(Boolean);
  Object.assign(camera, HOME, { pan: [0, 0, 0], target: (centre(t) || first || { mean: [0, 0, DATA.floor + 0.9] }).mean });
  camera.distance = Math.min(Math.max(3.7, ((radius + 0.7) * 2 * focal) / w + 0.6 * radius), 40);
}

function focalLength(w, h) { return 1.45 * Math.min(h, 1.25 * w); }

function makeView(w, h) {
  const { yaw, pitch, distance, pan, target } = camera;
  const cp = Math.cos(pitch), sp = Math.sin(pitch);
  const forward = [-Math.sin(yaw) * cp, Math.cos(yaw) * cp, -sp];
  const right = [Math.cos(yaw), Math.sin(yaw), 0];
  const up = [right[1] * forward[2], -right[0] * forward[2], right[0] * forward[1] - right[1] * forward[0]];
  const eye = [0, 1, 2].map((i) => target[i] + pan[i] - distance * forward[i]);
  return { eye, right, up, forward, focal: focalLength(w, h), cx: w / 2, cy: h / 2 };
}

function toCamera(v, x, y, z) {
  const d = [x - v.eye[0], y - v.eye[1], z - v.eye[2]];
  return [v.right, v.up, v.forward].map((a) => a[0] * d[0] + a[1] * d[1] + a[2] * d[2]);
}

function toScreen(v, c) {
  return [v.cx + (v.focal * c[0]) / c[2], v.cy - (v.focal * c[1]) / c[2]];
}

const NEAR = 0.1;
function segment(context, v, a, b) {
  let p = toCamera(v, ...a), q = toCamera(v, ...b);
  if (p[2] < NEAR && q[2] < NEAR) return false;
  if (p[2] < NEAR) [p, q] = [q, p];
  if (q[2] < NEAR) {
    const s = (p[2] - NEAR) / (p[2] - q[2]);
    q = [0, 1, 2].map((i) => p[i] + s * (q[i] - p[i]));
  }
  context.beginPath();
  context.moveTo(...toScreen(v, p));
  context.lineTo(...toScreen(v, q));
  context.stroke();
  return true;
}

function drawFloor(context, v) {
  const step = 0.5, reach = Math.max(3, camera.distance * 0.8);
  const x0 = Math.round(camera.target[0] / step) * step, y0 = Math.round(camera.target[1] / step) * step;
  const n = Math.ceil(reach / step), z = DATA.floor;
  context.strokeStyle = colours.grid;
  context.lineWidth = 1;
  for (let i = -n; i <= n; i++) {
    const extent = Math.sqrt(Math.max(reach * reach - i * i * step * step, 0));
    context.globalAlpha = 0.75 * (1 - Math.abs(i) / (n + 1));
    segment(context, v, [x0 + i * step, y0 - extent, z], [x0 + i * step, y0 + extent, z]);
    segment(context, v, [x0 - extent, y0 + i * step, z], [x0 + extent, y0 + i * step, z]);
  }
  context.globalAlpha = 1;
}

const RAMP = [[52, 168, 150], [242, 193, 78], [228, 74, 46]];
function rampColour(share) {
  const s = Math.min(Math.max(share, 0), 1) * 2, i = Math.min(Math.floor(s), 1);
  return `rgb(${RAMP[i].map((c, k) => Math.round(c + (s - i) * (RAMP[i + 1][k] - c))).join(",")})`;
}

function sideColour(j) {
  if (DATA.skeleton.left.includes(j)) return colours.left;
  return DATA.skeleton.right.includes(j) ? colours.right : colours.middle;
}

function strokeBones(context, v, pose, style, width, alpha, known) {
  context.globalAlpha = alpha;
  context.lineWidth = width;
  for (const [j, p] of BONES) {
    if (known && !(known[j] > 0.5 && known[p] > 0.5)) continue;
    context.strokeStyle = typeof style === "string" ? style : style(j);
    segment(context, v, ...[j, p].map((k) => [pose[3 * k], pose[3 * k + 1], pose[3 * k + 2]]));
  }
  context.globalAlpha = 1;
}

// The bones straight down on the floor, in one stroke: where they overlap the shadow gets no darker.
function drawShadow(context, v, pose, known) {
  context.beginPath();
  for (const [j, p] of BONES) {
    if (!(known[j] > 0.5 && known[p] > 0.5)) continue;
    const [a, b] = [j, p].map((k) => toCamera(v, pose[3 * k], pose[3 * k + 1], DATA.floor));
    if (a[2] < NEAR || b[2] < NEAR) continue;
    context.moveTo(...toScreen(v, a));
    context.lineTo(...toScreen(v, b));
  }
  context.strokeStyle = colours.shadow;
  context.lineWidth = Math.max(1.5, (0.05 * v.focal) / camera.distance);
  context.stroke();
}

// Draws everything and returns the joints on the screen, for the pointer: {x, y, person, joint, spread}.
function drawScene(t, layers, chosen) {
  const [context, w, h] = fitCanvas(scene);
  const v = makeView(w, h);
  context.lineCap = "round";
  if (layers.floor) drawFloor(context, v);
  const solid = [], joints = [], labels = [];
  let present = 0;
  for (const [n, person] of PEOPLE.entries()) {
    const frame = localFrame(person, t);
    if (person.hidden || frame < 0) continue;
    present++;
    const pose = at(person.pose, frame, 3 * J);
    const spread = person.spread && at(person.spread, frame, J);
    const aside = chosen >= 0 && chosen !== n;
    const colour = (j) => (layers.spread && spread ? rampColour(spread[j] / DATA.spread_scale) : sideColour(j));
    const known = knownJoints(person, frame);
    context.globalAlpha = aside ? 0.4 : 1;
    if (layers.floor) drawShadow(context, v, pose, known);
    context.globalAlpha = 1;
    if (layers.hypotheses && person.hypotheses && (!MANY || chosen === n))
      for (let k = 0; k < person.H; k++)
        strokeBones(context, v, at(person.hypotheses, frame, 3 * J, k * person.count), colour, 1.4, aside ? 0.12 : 0.34, known);
    for (const [j, p] of BONES) if (known[j] > 0.5 && known[p] > 0.5) solid.push(bone(v, pose, j, p, colour(j), aside));
    for (let j = 0; j < J; j++) {
      const c = toCamera(v, pose[3 * j], pose[3 * j + 1], pose[3 * j + 2]);
      if (c[2] < NEAR || known[j] < 0.5) continue;
      const [x, y] = toScreen(v, c);
      joints.push({ x, y, person, joint: j, spread: spread ? spread[j] : null });
      solid.push({ depth: c[2] - 0.02, x, y, radius: (0.028 * v.focal) / c[2], colour: colour(j), aside });
    }
    if (PEOPLE.length > 1) labels.push(label(v, person, pose, chosen === n, aside));
  }
  solid.sort((a, b) => b.depth - a.depth);
  for (const part of solid) drawSolid(context, v, part);
  drawLabels(context, labels.filter(Boolean));
  for (const person of PEOPLE) { // over the aggregate: where they agree, the truth is a thin line within it
    const frame = localFrame(person, t);
    if (layers.truth && person.truth && !person.hidden && frame >= 0)
      strokeBones(context, v, at(person.truth, frame, 3 * J), colours.truth, 2.2, 0.95);
  }
  document.getElementById("empty").hidden = present > 0;
  return joints;
}

function bone(v, pose, j, p, colour, aside) {
  const [a, b] = [j, p].map((k) => [pose[3 * k], pose[3 * k + 1], pose[3 * k + 2]]);
  const depth = (toCamera(v, ...a)[2] + toCamera(v, ...b)[2]) / 2;
  return { depth, a, b, colour, aside };
}

function drawSolid(context, v, part) {
  if (part.depth < NEAR) return;
  context.globalAlpha = part.aside ? (MANY ? 0.22 : 0.45) : 1;
  const width = Math.max(2.5, (0.036 * v.focal) / part.depth);
  if (part.a) {
    context.strokeStyle = colours.panel; // a rim, so that a limb in front stands off from one behind
    context.lineCap = "butt";
    context.lineWidth = width + 3;
    segment(context, v, part.a, part.b);
    context.lineCap = "round";
    context.strokeStyle = part.colour;
    context.lineWidth = width;
    segment(context, v, part.a, part.b);
  } else {
    context.fillStyle = part.colour;
    context.beginPath();
    context.arc(part.x, part.y, Math.max(2, part.radius), 0, 2 * Math.PI);
    context.fill();
  }
  context.globalAlpha = 1;
}

// A person's name over the highest joint: {x, y, depth, text, chosen, aside}.
function label(v, person, pose, chosen, aside) {
  let top = 0;
  for (let j = 1; j < J; j++) if (pose[3 * j + 2] > pose[3 * top + 2]) top = j;
  const c = toCamera(v, pose[3 * top], pose[3 * top + 1], pose[3 * top + 2] + 0.16);
  if (c[2] < NEAR) return null;
  const [x, y] = toScreen(v, c);
  return { x, y, depth: c[2], text: person.short, chosen, aside };
}

// The names, the nearest first: one that would lie on another moves up with a line to its place, or is left out.
function drawLabels(context, labels) {
  const LINE = 15, taken = [];
  context.textAlign = "center";
  labels.sort((a, b) => b.chosen - a.chosen || a.depth - b.depth);
  for (const { x, y, text, chosen, aside } of labels) {
    context.font = `${chosen ? 650 : 400} 13px system-ui, sans-serif`;
    const half = context.measureText(text).width / 2 + 3;
    const free = (top) => taken.every((b) => x + half < b.left || x - half > b.right || top > b.bottom || top + LINE < b.top);
    const rise = [0, 1, 2, 3, 4].find((n) => free(y - LINE - n * LINE));
    if (rise === undefined) continue;
    const base = y - rise * LINE;
    taken.push({ left: x - half, right: x + half, top: base - LINE, bottom: base });
    context.globalAlpha = aside ? 0.6 : 1;
    context.fillStyle = context.strokeStyle = chosen ? colours.accent : colours.quiet;
    if (rise) {
      context.lineWidth = 0.8;
      context.beginPath();
      context.moveTo(x, base + 3);
      context.lineTo(x, y + 2);
      context.stroke();
    }
    context.fillText(text, x, base);
  }
  context.globalAlpha = 1;
}
