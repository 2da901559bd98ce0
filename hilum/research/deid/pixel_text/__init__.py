"""Text burned into pixels: found in every image that may hold it, read as far as that decides whether it may stay, and
blacked out without a change to any other pixel. `step.TextStep` is the `PixelStep` of ``hilum.research.deid.pixels``;
its models come with the extra ``hilum[pixels]``, without which such images are set aside."""
