// The input beside the 3D: the video if there is one, and the 2D joints over it.
const video = document.getElementById("video");
const overlay = document.getElementById("overlay");
const picture = document.getElementById("picture");
let videoReady = false;

function startPicture(redraw) {
  const has2d = PEOPLE.some((p) => p.keypoints) && DATA.image;
  picture.hidden = !has2d && !DATA.video;
  if (!DATA.video) return;
  video.hidden = false;
  video.addEventListener("loadeddata", () => { videoReady = true; redraw(); });
  video.addEventListener("seeked", redraw);
  video.addEventListener("error", () => {
    video.hidden = true;
    const missing = document.getElementById("missing");
    missing.textContent = `The video ${DATA.video.startsWith("data:") ? "in this page" : DATA.video} cannot be shown; put it beside this page.`;
    missing.hidden = false;
  });
  video.src = DATA.video;
}

// Keep the video at the page's time: it may run by itself while it is close enough.
function syncVideo(seconds, playing, speed) {
  if (!videoReady) return;
  const wanted = Math.min(seconds, Math.max(video.duration - 0.001, 0) || seconds);
  const drift = Math.abs(video.currentTime - wanted);
  if (playing) {
    video.playbackRate = speed;
    if (drift > 0.12 && !video.seeking) video.currentTime = wanted;
    if (video.paused) video.play().catch(() => {});
  } else {
    if (!video.paused) video.pause();
    if (drift > 0.3 / DATA.fps && !video.seeking) video.currentTime = wanted;
  }
}

function drawPicture(t, layers, chosen) {
  if (picture.hidden) return;
  const [context, w, h] = fitCanvas(overlay);
  const size = DATA.image || [video.videoWidth || 16, video.videoHeight || 9];
  const scale = Math.min(w / size[0], h / size[1]);
  const x0 = (w - size[0] * scale) / 2, y0 = (h - size[1] * scale) / 2;
  if (video.hidden || !DATA.video) {
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    context.strokeRect(x0 + 0.5, y0 + 0.5, size[0] * scale - 1, size[1] * scale - 1);
  }
  if (!layers.keypoints) return;
  context.lineCap = "round";
  for (const [n, person] of PEOPLE.entries()) {
    const frame = localFrame(person, t);
    if (person.hidden || frame < 0 || !person.keypoints) continue;
    const points = at(person.keypoints, frame, 2 * J);
    const seen = person.mask && at(person.mask, Math.round(frame), J);
    const place = (j) => [x0 + points[2 * j] * scale, y0 + points[2 * j + 1] * scale];
    context.globalAlpha = chosen >= 0 && chosen !== n ? (MANY ? 0.12 : 0.4) : 0.95;
    const known = knownJoints(person, frame);
    for (const [j, p] of BONES) {
      if (!(known[j] > 0.5 && known[p] > 0.5)) continue;
      context.setLineDash(seen && !(seen[j] > 0.5 && seen[p] > 0.5) ? [3, 5] : []);
      for (const [style, width] of [["rgba(0,0,0,.55)", 4.5], [sideColour(j), 2.5]]) {
        context.strokeStyle = style;
        context.lineWidth = width;
        context.beginPath();
        context.moveTo(...place(j));
        context.lineTo(...place(p));
        context.stroke();
      }
    }
    context.setLineDash([]);
    for (let j = 0; j < J; j++) {
      if (known[j] < 0.5) continue;
      context.beginPath();
      context.arc(...place(j), 3.2, 0, 2 * Math.PI);
      context.fillStyle = seen && seen[j] < 0.5 ? colours.panel : sideColour(j);
      context.strokeStyle = seen && seen[j] < 0.5 ? sideColour(j) : "rgba(0,0,0,.6)";
      context.lineWidth = 1;
      context.fill();
      context.stroke();
    }
    context.globalAlpha = 1;
  }
}
