// How the page and the lightbox name a photo: by its address, by its link on the page.

/** Behind the page's own address while a photo is looked at. */
export const HASH = "#photo-";

/** The link to a photo on the page, if there is one. */
export function thumbnailOf(id) {
  return id ? document.querySelector(`a[data-slide="${CSS.escape(id)}"]`) : null;
}
