(()=>{var e=document.documentElement;e.dataset.js="";document.addEventListener("DOMContentLoaded",()=>{e.dataset.js!=="ready"&&delete e.dataset.js});})();
