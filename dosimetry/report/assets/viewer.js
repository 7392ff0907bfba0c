// The viewer: NiiVue with the page's own images; where the browser has no WebGL2 the picture beneath stays.
(function () {
  "use strict";
  const place = document.getElementById("viewer");
  if (!place) return;
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const canvas = place.querySelector("canvas"), told = place.querySelector(".told");
  const scalars = data.images.filter((image) => !image.labels), base = scalars[0];
  const overlays = scalars.slice(base.name === "CT" ? 1 : 0);
  const volumes = {};
  let viewer = null, drawn = null, chosen = "dose", opacity = 0.6;

  function hasWebGL2() {
    try { return !!document.createElement("canvas").getContext("webgl2"); } catch (error) { return false; }
  }

  // Clear within: NiiVue gives the border of a label its colour all the same.
  function table(entries) {
    return {
      R: [0].concat(entries.map((entry) => entry.rgb[0])),
      G: [0].concat(entries.map((entry) => entry.rgb[1])),
      B: [0].concat(entries.map((entry) => entry.rgb[2])),
      A: [0].concat(entries.map(() => 0)),
      I: [0].concat(entries.map((entry, n) => n + 1)),
      labels: [""].concat(entries.map((entry) => entry.name || entry.gy + " Gy")),
    };
  }

  async function load(image) {
    const volume = await niivue.NVImage.loadFromBase64({ base64: image.nifti, name: image.name + ".nii.gz" });
    if (!image.labels) {
      volume.colormap = image.colours;
      volume.cal_min = image.low;
      volume.cal_max = image.high;
    } else {
      volume.setColormapLabel(table(image.name === "structures" ? data.structures : data.isodoses));
    }
    if (image.name === "structures") drawn = volume.img.slice();
    volumes[image.name] = volume;
    viewer.addVolume(volume);
    return volume;
  }

  async function start() {
    viewer = new niivue.Niivue({
      isRadiologicalConvention: true, sagittalNoseLeft: true, show3Dcrosshair: false, multiplanarShowRender: 0,
      dragAndDropEnabled: false, isOrientCube: false, loadingText: "", logLevel: "error", isColorbar: false,
      crosshairColor: [1, 1, 1, 0.7], crosshairWidth: 0.7, crosshairWidthUnit: "mm", backColor: [0, 0, 0, 1], fontSizeScaling: 0.5,
      showAllOrientationMarkers: true, isAlphaClipDark: true, yoke3Dto2DZoom: true,
    });
    viewer.onLocationChange = tell;
    await viewer.attachToCanvas(canvas);
    for (const image of data.images) {
      if (image.labels && image.name === "structures" && !data.structures.length) continue;
      if (image.labels && image.name === "isodoses" && !data.isodoses.length) continue;
      await load(image);
    }
    viewer.setAtlasOutline(1);
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    viewer.setInterpolation(false);
    show();
    go(data.start_mm);
  }

  function index(name) {
    return viewer.volumes.indexOf(volumes[name]);
  }

  // Each change of an overlay costs the card a pass over all of them: only what differs is set.
  function setOpacity(name, wanted) {
    if (volumes[name] && volumes[name].opacity !== wanted) viewer.setOpacity(index(name), wanted);
  }

  function show() {
    overlays.forEach((image) => {
      if (image !== base) setOpacity(image.name, image.name === chosen ? opacity : 0);
    });
    const scale = scalars.find((image) => image.name === chosen);
    place.querySelector(".scale").textContent = scale ? "scale " + digits(volumes[chosen].cal_min) + " to " + digits(volumes[chosen].cal_max) + " " + scale.unit : "";
    const top = place.querySelector("[name=top]");
    top.disabled = !scale;
    if (scale) { top.max = 2 * scale.high; top.step = scale.high / 100; top.value = volumes[chosen].cal_max; }
  }

  function digits(value) {
    return Math.abs(value) >= 1e4 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(2) : String(+value.toPrecision(3));
  }

  function go(mm) {
    viewer.scene.crosshairPos = viewer.mm2frac(mm);
    viewer.drawScene();
    viewer.createOnLocationChange();
  }

  function side(value, positive, negative) {
    return (value >= 0 ? positive : negative) + " " + Math.abs(value).toFixed(0);
  }

  function tell(location) {
    const mm = location.mm;
    const parts = [side(mm[0], "R", "L"), side(mm[1], "A", "P"), side(mm[2], "S", "I")];
    const values = [];
    let structure = "";
    viewer.volumes.forEach((volume, n) => {
      const name = Object.keys(volumes).find((key) => volumes[key] === volume), value = location.values[n] && location.values[n].value;
      const image = data.images[data.images.findIndex((item) => item.name === name)];
      if (!image || value === undefined || value === null) return;
      if (name === "structures") structure = value > 0 && data.structures[Math.round(value) - 1] ? data.structures[Math.round(value) - 1].name : "";
      else if (name === "uncertainty" && value === 0) values.push("uncertainty not known");
      else if (!image.labels) values.push(name + " " + digits(value) + " " + image.unit);
    });
    told.textContent = parts.join(", ") + " mm: " + values.join(", ") + (structure ? "; " + structure : "");
    place.querySelectorAll("[data-axis]").forEach((range) => { range.value = mm[+range.dataset.axis]; });
  }

  function wire() {
    place.querySelectorAll("[name=overlay]").forEach((radio) => radio.addEventListener("change", () => { chosen = radio.value; show(); }));
    place.querySelector("[name=opacity]").addEventListener("input", (event) => { opacity = +event.target.value / 100; show(); });
    place.querySelector("[name=top]").addEventListener("input", (event) => {
      volumes[chosen].cal_max = +event.target.value;
      volumes[chosen].cal_min = 0.03 * event.target.value;
      viewer.updateGLVolume();
      show();
    });
    const windows = place.querySelector("[name=window]");
    if (windows) windows.addEventListener("change", () => {
      const ends = windows.value.split(" ").map(Number);
      volumes.CT.cal_min = ends[0];
      volumes.CT.cal_max = ends[1];
      viewer.updateGLVolume();
    });
    place.querySelector("[name=planes]").addEventListener("change", (event) => viewer.setSliceType(+event.target.value));
    place.querySelector("[name=isodoses]").addEventListener("change", (event) => setOpacity("isodoses", event.target.checked ? 1 : 0));
    place.querySelectorAll("[data-go]").forEach((button) => button.addEventListener("click", () => go(data.structures[+button.dataset.go].at_mm)));
    place.querySelectorAll("[data-show]").forEach((box) => box.addEventListener("change", () => {
      data.structures[+box.dataset.show].off = !box.checked;
      const shown = volumes.structures.img;
      for (let n = 0; n < shown.length; n += 1) shown[n] = drawn[n] && data.structures[drawn[n] - 1].off ? 0 : drawn[n];
      viewer.updateGLVolume();
    }));
    const low = viewer.frac2mm([0, 0, 0]), high = viewer.frac2mm([1, 1, 1]);
    place.querySelectorAll("[data-axis]").forEach((range) => {
      const axis = +range.dataset.axis;
      range.min = Math.min(low[axis], high[axis]);
      range.max = Math.max(low[axis], high[axis]);
      range.step = 0.5;
      range.value = viewer.frac2mm(viewer.scene.crosshairPos)[axis];
      range.addEventListener("input", () => {
        const mm = Array.from(viewer.frac2mm(viewer.scene.crosshairPos)).slice(0, 3);
        mm[axis] = +range.value;
        go(mm);
      });
    });
  }

  if (!hasWebGL2() || typeof niivue === "undefined") {
    place.dataset.state = "no WebGL2";
    return;
  }
  place.hidden = false;
  start().then(() => {
    wire();
    place.dataset.state = "drawn";
    document.documentElement.classList.add("viewing");
  }).catch((error) => {
    place.hidden = true;
    place.dataset.state = "failed: " + error;
  });
})();
