// Everything a page gains when script arrives. Each module is small, and every page works without any of it.
import "./js/copy.js";
import "./js/dialogs.js";
import "./js/theme.js";
import "./js/forms.js";
import "./js/upload.js";
import "./js/toasts.js";
import "./js/tabs.js";
import "./js/times.js";
import "./js/palette.js";
import "./js/keys.js";
import "./js/menus.js";
import "./js/writing.js";

document.documentElement.dataset.js = "ready"; // early.js looks for it
