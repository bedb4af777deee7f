// The poses: little-endian int16 in base64, with a scale and an offset for each channel.
const DATA = JSON.parse(document.getElementById("data").textContent);
const BONES = DATA.skeleton.parents.map((p, j) => [j, p]).filter(([, p]) => p >= 0);
const J = DATA.skeleton.joints.length;

function unpack(part) {
  if (!part) return null;
  const bytes = Uint8Array.from(atob(part.data), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const n = part.offset.length;
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) values[i] = view.getInt16(2 * i, true) * part.scale + part.offset[i % n];
  return values;
}

const PEOPLE = DATA.people.map((p) => ({
  id: p.id, label: p.label, first: p.first, count: p.count, H: p.hypotheses_count,
  pose: unpack(p.pose), hypotheses: unpack(p.hypotheses), spread: unpack(p.spread),
  truth: unpack(p.truth), keypoints: unpack(p.keypoints), mask: unpack(p.mask), known: unpack(p.known), hidden: false,
}));

// A crowd is named by numbers, and shows the hypotheses of the person that is singled out only.
const MANY = PEOPLE.length > 8;
for (const person of PEOPLE) person.short = MANY ? person.label.replace(/^Person /, "") : person.label;

// One frame (width values) of an array, at a fractional frame between two of them.
function at(array, frame, width, base = 0) {
  const last = array.length / width - 1;
  const a = Math.min(Math.floor(frame) + base, last);
  const b = frame % 1 > 0 ? Math.min(a + 1, last) : a;
  const share = frame % 1;
  const out = new Float32Array(width);
  for (let i = 0; i < width; i++) out[i] = array[a * width + i] * (1 - share) + array[b * width + i] * share;
  return out;
}

// Which joints of a person are known in a frame: all but those that were unseen for long.
function knownJoints(person, frame) {
  return person.known ? at(person.known, Math.round(frame), J) : new Float32Array(J).fill(1);
}

// Where a person is in the page's time, or -1 where absent.
function localFrame(person, t) {
  const frame = t - person.first;
  if (person.known && frame >= 0 && frame <= person.count - 1 && !knownJoints(person, frame).some((k) => k > 0.5)) return -1;
  return frame >= -1e-6 && frame <= person.count - 1 + 1e-6 ? Math.min(Math.max(frame, 0), person.count - 1) : -1;
}
