"""Single images, one by one: prepare, analyse, transform, act, each a pure function.

Here: what becomes of the bytes of one image. Not here: where they come from and in which order it is done
(serving/api, serving/work), messages (groundplan/messages), or sheets of a project (groundplan/imagery).
"""
