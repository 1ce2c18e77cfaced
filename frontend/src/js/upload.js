// <ts-upload> around a multipart form: drop a file anywhere on it, see progress, get the server's page or its errors.
import { announce, word } from "./dom.js";

class Upload extends HTMLElement {
  connectedCallback() {
    this.form = this.querySelector("form");
    this.input = this.querySelector("input[type=file]");
    this.zone = this.querySelector(".drop");
    this.bar = this.querySelector("progress");
    this.status = this.querySelector("[data-upload-status]");
    if (!this.form || !this.input) return;
    for (const name of ["dragenter", "dragover"]) this.addEventListener(name, (e) => { e.preventDefault(); this.zone.dataset.over = ""; });
    for (const name of ["dragleave", "drop"]) this.addEventListener(name, (e) => { e.preventDefault(); delete this.zone.dataset.over; });
    this.addEventListener("drop", (e) => {
      if (!e.dataTransfer || !e.dataTransfer.files.length) return;
      this.input.files = e.dataTransfer.files;
      this.named();
    });
    this.input.addEventListener("change", () => this.named());
    this.form.addEventListener("submit", (e) => this.send(e));
  }

  named() {
    const file = this.input.files[0];
    const name = this.form.querySelector("input[name=name]");
    if (file && name && !name.value) name.value = file.name.replace(/\.[^.]+$/, "").toLowerCase().replace(/[^a-z0-9-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60);
    if (file) this.say(`${file.name} · ${size(file.size)}`);
  }

  send(event) {
    if (!this.input.files.length) return;
    event.preventDefault();
    const request = new XMLHttpRequest();
    const started = performance.now();
    request.upload.onprogress = (e) => {
      if (!e.lengthComputable) return;
      this.bar.hidden = false;
      this.bar.value = e.loaded / e.total;
      const seconds = (performance.now() - started) / 1000;
      const left = e.loaded ? (seconds / e.loaded) * (e.total - e.loaded) : 0;
      const tail = seconds > 3 && left > 2 ? ` · ${word("about", "about")} ${Math.ceil(left)} s` : "";
      this.say(e.loaded === e.total ? word("checking", "Uploaded. Checking the file…") : `${size(e.loaded)} / ${size(e.total)}${tail}`);
    };
    request.onload = () => {
      const where = request.getResponseHeader("X-Location");
      if (where) { announce(word("uploaded", "Uploaded")); location.assign(where); return; }
      // The answer is the same page with its errors: show it as if the form had been posted.
      document.open(); document.write(request.responseText); document.close();
    };
    request.onerror = () => {
      this.say(word("upload_lost", "The connection was lost before the file arrived. Nothing was saved. Send it again."));
      this.bar.hidden = true;
      delete this.form.dataset.sent;
      for (const b of this.form.querySelectorAll("[aria-busy]")) { b.removeAttribute("aria-busy"); b.removeAttribute("aria-disabled"); }
    };
    const button = event.submitter;
    if (button) { button.setAttribute("aria-busy", "true"); button.setAttribute("aria-disabled", "true"); }
    request.open("POST", this.form.action);
    request.setRequestHeader("X-Requested-With", "XMLHttpRequest");
    request.send(new FormData(this.form));
  }

  say(text) { if (this.status) this.status.textContent = text; }
}

function size(bytes) {
  if (bytes < 1000) return `${bytes}\u00a0B`;
  const units = ["kB", "MB", "GB"];
  let value = bytes, unit = -1;
  do { value /= 1000; unit += 1; } while (value >= 1000 && unit < 2);
  return `${value.toFixed(value < 10 ? 1 : 0)}\u00a0${units[unit]}`;
}

customElements.define("ts-upload", Upload);
